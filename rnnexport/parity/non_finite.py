"""What becomes of a NaN or an infinity in one row of a batch: a property of the runtime, not a fault.

`kept`: the row's outputs are not finite; `swallowed`: they are finite; `spreads`: other rows' outputs are not finite.
ONNX Runtime's CPU kernels swallow NaN, for their activations clamp it; PyTorch and OpenVINO keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.manifest import TensorInfo
from rnnexport.engines.contract import Feeds
from rnnexport.parity.grid import Case
from rnnexport.runtime.worker import CaseResult

VALUES = {"NaN": np.nan, "Inf": np.inf}


def non_finite_calls(inputs: Sequence[TensorInfo], cases: Sequence[Case]) -> list[Feeds]:
    """Return a call for each of `VALUES`, with that value at the first step of row 0; none where it finds no place."""
    floating = [i for i in inputs if i.role == "features" and i.dtype == "float32" and i.batch_dimension]
    call = next((case.feeds for case in cases if floating and _rows(case.feeds, floating[0]) > 1), None)
    if call is None:
        return []
    poisoned: list[Feeds] = []
    for value in VALUES.values():
        array = np.array(call[floating[0].name])
        _batch_first(floating[0], array)[0].flat[0] = value
        poisoned.append({**call, floating[0].name: array})
    return poisoned


def properties(outputs: Sequence[TensorInfo], results: Sequence[CaseResult]) -> dict[str, str]:
    """Say of each value what became of it, from the results of `non_finite_calls`."""
    return {name: _fate(outputs, result) for name, result in zip(VALUES, results, strict=False)}


def _rows(feeds: Feeds, info: TensorInfo) -> int:
    return len(_batch_first(info, feeds[info.name]))


def _batch_first(info: TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
    """As a view."""
    return np.moveaxis(array, info.batch_axis or 0, 0)


def _fate(outputs: Sequence[TensorInfo], result: CaseResult) -> str:
    if result.failure is not None:
        return result.failure.kind
    rows = [
        _batch_first(info, result.outputs[info.name])
        for info in outputs
        if info.batch_dimension and info.name in result.outputs
    ]
    if not all(np.isfinite(array[1:]).all() for array in rows):
        return "spreads"
    return "swallowed" if all(np.isfinite(array[0]).all() for array in rows) else "kept"
