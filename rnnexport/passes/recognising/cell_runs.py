"""Written-out cells as layers: steps that pass their state on and have the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.zeros import is_zero
from rnnexport.passes.recognising.decomposed_cells import CellStep
from rnnexport.passes.recognising.selections import SelectedValue

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Weights:
    """Of one layer, in ONNX's order of gates."""

    w: Array
    """[I, G·H]."""
    r: Array | None
    """[H, G·H]; `None` where h is known to be zero, and its matrix with it."""
    bias: Array
    """[G·H]."""
    recurrent_bias: Array
    """[G·H]."""


@dataclass(frozen=True, slots=True)
class CellRun:
    """The steps of one layer."""

    steps: tuple[CellStep, ...]
    states: tuple[SelectedValue | None, ...]
    """The h that goes into each; `None` for zeros."""
    weights: Weights

    @property
    def inputs(self) -> list[list[SelectedValue]]:
        """What goes into each step beside h, in the order of the rows of W."""
        return [_others(cell, h) for cell, h in zip(self.steps, self.states, strict=True)]

    def single_steps(self) -> list[CellRun]:
        """Each step for itself."""
        steps = zip(self.steps, self.states, strict=True)
        return [CellRun((cell,), (h,), self.weights) for cell, h in steps if h is not None]


def find_runs(cells: Sequence[CellStep]) -> list[CellRun]:
    """Put the cells of one graph together; those whose weights differ from step to step are left out."""
    by_state = {cell.h_n: cell for cell in cells}
    before = {cell.h_n: _before(cell, by_state) for cell in cells}
    after: dict[ir.Value, list[CellStep]] = {}
    for cell in cells:
        if (previous := before[cell.h_n]) is not None:
            after.setdefault(previous.h_n, []).append(cell)
    firsts = [c for c in cells if (p := before[c.h_n]) is None or len(after[p.h_n]) > 1]
    runs = []
    for first in firsts:
        steps = [first]
        while len(followers := after.get(steps[-1].h_n, [])) == 1:
            steps.append(followers[0])
        run = _settled(steps, before[first.h_n], by_state)
        if run is not None:
            runs.append(run)
    return runs


def _before(cell: CellStep, by_state: dict[ir.Value, CellStep]) -> CellStep | None:
    """The cell whose states go into this one."""
    if cell.cell == "GRU":
        found = by_state.get(cell.h.value) if cell.h is not None and cell.h.axis is None else None
        return found if found is not None and found.cell == "GRU" else None
    for source in cell.inputs:
        found = by_state.get(source.value) if source.axis is None else None
        if found is not None and found.c_n is cell.c:
            return found
    return None


def _settled(steps: list[CellStep], before: CellStep | None, by_state: dict[ir.Value, CellStep]) -> CellRun | None:
    """The run of these steps, if one h for the first makes all weights the same."""
    later: list[SelectedValue | None] = [SelectedValue(step.h_n) for step in steps[:-1]]
    known = [step_weights(step, h) for step, h in zip(steps[1:], later, strict=True)]
    if any(not _same(weights, known[0]) for weights in known[1:]):
        return None
    first = steps[0]
    if before is not None:
        choices: list[SelectedValue | None] = [SelectedValue(before.h_n)]
    elif first.cell == "GRU":
        choices = [first.h]
    else:
        choices = [*_candidates(first, by_state), None]
    for h in choices:
        weights = step_weights(first, h if h in first.inputs else None)
        if known and _same(weights, known[0]):
            return CellRun(
                tuple(steps), (h if weights.r is not None or first.cell == "GRU" else None, *later), known[0]
            )
        if not known and weights.r is not None:
            return CellRun((first,), (h,), weights)
    return None


def _candidates(cell: CellStep, by_state: dict[ir.Value, CellStep]) -> list[SelectedValue]:
    """What may be the h that belongs to a c, the likeliest first."""

    def unlikeliness(source: SelectedValue) -> tuple[bool, bool, int]:
        c = cell.c
        assert c is not None
        inputs = list(c.graph.inputs) if c.graph is not None else []
        both = source.value in inputs and c in inputs
        distance = abs(inputs.index(source.value) - inputs.index(c)) if both else len(inputs)
        return source.value in by_state, is_zero(source.value) != is_zero(c), distance

    wide_enough = [source for source, matrix in cell.inputs.items() if len(matrix) == cell.hidden_size]
    return sorted(wide_enough, key=unlikeliness)


def _others(cell: CellStep, h: SelectedValue | None) -> list[SelectedValue]:
    return [source for source in cell.inputs if source != h]


def step_weights(cell: CellStep, h: SelectedValue | None) -> Weights:
    """The weights of one step, if this is its h."""
    others = [cell.inputs[source] for source in _others(cell, h)]
    w = others[0] if len(others) == 1 else np.concatenate([np.zeros((0, len(cell.bias)), np.float32), *others])
    return Weights(w, cell.inputs[h] if h is not None else None, cell.bias, cell.recurrent_bias)


def _same(first: Weights, second: Weights) -> bool:
    """Whether two steps have the same weights; biases may have been added up in another order."""
    recurrent = first.r is None or _equal(first.r, second.r)
    biases = [(first.bias, second.bias), (first.recurrent_bias, second.recurrent_bias)]
    return (
        recurrent
        and _equal(first.w, second.w)
        and all(a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-7) for a, b in biases)
    )


def _equal(first: Array, second: Array | None) -> bool:
    return first is second or (second is not None and np.array_equal(first, second))
