"""An axis that exporting has frozen: the file works at one size only, and fails or gives another shape elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.manifest import TensorInfo
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.parity.grid import Case, CaseShape, draw_feeds
from rnnexport.runtime.worker import infer

if TYPE_CHECKING:
    import onnx

REMEDY = "export the axis as a dynamic one; `rnnexport export` keeps batch and time dynamic"
_OTHER_BATCH, _OTHER_TIME = 11, 19
"""In no call of the grid, so that another axis that is frozen does not fit by chance."""
_MOST_TRIALS = 12
_LARGEST = 4096


def static_axis(
    bundle: Bundle, definition: Definition, cases: Sequence[Case], passed: Sequence[bool]
) -> tuple[str, int] | None:
    """Name the dimension that is frozen and its size, or `None` where none is.

    Where the calls that passed have two sizes in common, each is tried with another one beside it; where none passed,
    sizes that stand in the graph as constants are.
    """
    sizes = [_sizes(bundle, case.feeds) for case in cases]
    good = [each for each, well in zip(sizes, passed, strict=True) if well]
    bad = [each for each, well in zip(sizes, passed, strict=True) if not well]
    if not bad:
        return None
    first = good[0] if good else {}
    found = [
        (symbol, size)
        for symbol, size in first.items()
        if all(each[symbol] == size for each in good) and all(each[symbol] != size for each in bad)
    ]
    if len(found) == 1:
        return found[0]
    if found or not good:
        return _tried(bundle, definition, found)
    return None


def _tried(bundle: Bundle, definition: Definition, axes: Sequence[tuple[str, int]]) -> tuple[str, int] | None:
    """The one of these axes and sizes, or of those that the graph suggests, at which a call succeeds."""
    import onnx

    model = onnx.load(bundle.model_path, load_external_data=False)
    inputs = bundle.manifest.inputs
    named = dict.fromkeys([*(i.time_dimension for i in inputs), *(i.batch_dimension for i in inputs)])
    suggested = [(axis, size) for size in _constants(model) for axis in named if axis]
    trials = list(islice(_trials(inputs, axes or suggested), _MOST_TRIALS))
    generator = np.random.default_rng(0)
    feeds = [draw_feeds(inputs, [], shape, generator) for _, _, shape in trials]
    results = infer(Path(bundle.file_for(definition)), definition, feeds)
    worked = [(axis, size) for (axis, size, _), result in zip(trials, results, strict=True) if not result.failure]
    return worked[0] if len(worked) == 1 else None


def _trials(inputs: Sequence[TensorInfo], axes: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int, CaseShape]]:
    for axis, size in axes:
        batch = axis in {info.batch_dimension for info in inputs}
        yield axis, size, CaseShape(size, _OTHER_TIME) if batch else CaseShape(_OTHER_BATCH, size)


def _constants(model: onnx.ModelProto) -> list[int]:
    """Integers in the graph that can be sizes, those of Reshape's and Expand's shapes among them."""
    from onnx import TensorProto, numpy_helper

    tensors = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    arrays = [numpy_helper.to_array(t) for t in tensors if t.data_type == TensorProto.INT64 and np.prod(t.dims) <= 8]
    return list(dict.fromkeys(int(n) for array in arrays for n in array.ravel() if 1 < n <= _LARGEST))


def _sizes(bundle: Bundle, feeds: Feeds) -> dict[str, int]:
    return {
        symbol: size
        for info in bundle.manifest.inputs
        for symbol, size in zip(info.shape, feeds[info.name].shape, strict=True)
        if isinstance(symbol, str)
    }
