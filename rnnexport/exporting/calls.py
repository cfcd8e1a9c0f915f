"""The calls at which a module's graph is judged, and what the module answers to them.

1. The parity grid, at sizes that the module takes.
2. Sizes at which a condition does not hold that the trace took for granted: where the module works there, so must the
   graph; where it fails, the condition is a requirement, which the export states.
3. A module that fails on drawn values is asked again with series sorted by length, with integers that count steps, and
   with flags that mark a row's first steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import nn

from rnnexport.bundle.manifest import TensorInfo
from rnnexport.capture import Captured, InputSpec
from rnnexport.capture.inputs import SizeRange
from rnnexport.engines.contract import Feeds
from rnnexport.errors import ExportError
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.reference import answers, works
from rnnexport.parity.grid import GRIDS, STREAM_GRID, Case, CaseShape, draw_cases, symbol_sizes

_LARGEST_TRIED = 1500
"""Steps of a call that tries a condition; a longer one takes seconds."""
_MOST_TRIED = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Calls:
    """Calls and answers, one for each."""

    cases: list[Case]
    answers: list[Feeds]
    conditions: dict[str, str]
    """By the name of a call that was added to try it: the condition that does not hold there."""
    notes: list[str]
    """What the module requires of its sizes."""


def make_calls(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    captured: Captured,
    graphs: Graphs,
    sample: Sequence[Case] = (),
) -> Calls:
    """Draw the calls, put those of the sample before them, and ask the module.

    Raises:
        ExportError: The module fails on a drawn call, or draws random numbers.
    """
    names = [info.name for info in graphs.outputs]
    plain = [dataclasses.replace(s, mixed_lengths=graphs.options.lengths != "none") for s in GRIDS["default"]]
    plain += STREAM_GRID if graphs.options.streaming else ()
    shapes = [_fitted(shape, graphs.drawn_inputs, captured) for shape in plain]
    first: ExportError | None = None
    for infos, way in _ways_to_draw(graphs.drawn_inputs):
        tried = [dataclasses.replace(shape, **way) for shape in shapes]
        cases = [*sample, *draw_cases(infos, [], tried)]
        extra, conditions, notes = _at_conditions(module, inputs, captured, infos, way)
        try:
            found = answers(module, inputs, names, [*cases, *extra])
        except ExportError as exc:
            first = first or exc  # the first failure is the one to tell
            continue
        return Calls([*cases, *extra], found, conditions, notes)
    assert first is not None
    raise first


_Way = dict[str, Any]
"""Fields of a `CaseShape`."""


def _ways_to_draw(inputs: Sequence[TensorInfo]) -> list[tuple[Sequence[TensorInfo], _Way]]:
    """Inputs as the graph shows them, and with every list of integers along the batch as lengths; sorted or not.

    Flags are anywhere, or mark the first steps of each row.
    """
    counting = [
        info.model_copy(update={"role": "lengths"})
        if len(info.shape) == 1 and isinstance(info.shape[0], str) and info.dtype.startswith("int") and not info.values
        else info
        for info in inputs
    ]
    ways: list[Sequence[TensorInfo]] = [inputs] if counting == list(inputs) else [inputs, counting]
    flags = (False, True) if any(info.dtype == "bool" for info in inputs) else (False,)
    return [
        (infos, {"sorted_lengths": longest_first, "leading_flags": leading})
        for leading in flags
        for infos in ways
        for longest_first in (False, True)
    ]


def _fitted(shape: CaseShape, inputs: Sequence[TensorInfo], captured: Captured) -> CaseShape:
    """The shape at sizes that the module takes; where it needs many steps, there are many more of them."""
    wanted = symbol_sizes(inputs, shape)
    sizes = {}
    for dimension, size in wanted.items():
        found = captured.ranges.get(dimension, SizeRange())
        sizes[dimension] = found.at_least(found.minimum + (size - 1) * max(1, found.minimum // 8))
    if sizes == wanted:
        return shape
    rows = {info.batch_dimension for info in inputs}
    times = [size for dimension, size in sizes.items() if dimension not in rows]
    batches = [size for dimension, size in sizes.items() if dimension in rows]
    return dataclasses.replace(
        shape,
        batch_size=(*batches, shape.batch_size)[0],
        time_steps=(*times, shape.time_steps)[0],
        sizes=sizes,
    )


def _at_conditions(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    captured: Captured,
    infos: Sequence[TensorInfo],
    way: _Way,
) -> tuple[list[Case], dict[str, str], list[str]]:
    """Calls at which a condition does not hold and the module works, their conditions, and what it requires else."""
    base = dataclasses.replace(_fitted(CaseShape(3, 12), infos, captured), **way)
    cases: list[Case] = []
    conditions: dict[str, str] = {}
    notes: list[str] = []
    tried: dict[Any, Case | None] = {}
    for condition in captured.conditions:
        small = [sizes for sizes in condition.counterexamples if max(sizes.values()) <= _LARGEST_TRIED]
        for sizes in small:
            key = tuple(sorted(sizes.items()))
            if key not in tried and len(tried) < _MOST_TRIED:
                (case,) = draw_cases(infos, [], [dataclasses.replace(base, sizes={**base.sizes, **sizes})])
                shown = ", ".join(f"{dimension}={size}" for dimension, size in sizes.items())
                tried[key] = Case(shown, case.feeds) if works(module, inputs, case) else None
                if found := tried[key]:
                    cases.append(found)
                    conditions[found.name] = condition.text
        if not small or any(tried.get(tuple(sorted(sizes.items()))) is None for sizes in small):
            notes.append(_requirement(condition.text, condition.dimensions))
    return cases, conditions, list(dict.fromkeys(notes))


def _requirement(text: str, dimensions: Sequence[str]) -> str:
    if text:
        return f"the module works only where {text}"
    return f"the module fits only some sizes of {', '.join(dimensions)}, as it did in PyTorch"
