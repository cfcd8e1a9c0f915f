"""Which graph inputs and outputs are states of each other.

An input and an output are one state where the one reaches a node's initial state and the other comes from its final
state, through changes of layout; or, where a body hides that, where type and rank are the same and the output's name
begins with the input's (`h` → `hn`, `state` → `stateN`).
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.inspecting.layers import data_inputs
from rnnexport.onnx_files.operators import INITIAL_H, LAYOUT, RECURRENT, STACK


def state_pairs(model: ir.Model) -> Iterator[tuple[str, str]]:
    """Yield the names of each input and output that are one state, before a call and after it."""
    for before in data_inputs(model):
        for after in model.graph.outputs:
            if _is_state(before, after) or _is_named_like(before, after):
                yield before.name or "", after.name or ""
                break


def _is_state(before: ir.Value, after: ir.Value) -> bool:
    """Whether `before` reaches initial_h (input 5) and `after` comes from Y_h (output 1), or the same of c."""
    reached = {
        user.outputs[position - INITIAL_H + 1]
        for value in _reached(before)
        for user, position in value.uses()
        if user.op_type in (*RECURRENT, STACK) and INITIAL_H <= position < len(user.outputs) + INITIAL_H - 1
    }
    return any(after in _reached(output) for output in reached)


def _reached(value: ir.Value) -> list[ir.Value]:
    """`value` and what it becomes through changes of layout."""
    found = [value]
    for each in found:
        for user, _ in each.uses():
            if user.op_type in LAYOUT:
                found.extend(output for output in user.outputs if output not in found)
    return found


def _is_named_like(before: ir.Value, after: ir.Value) -> bool:
    if before.dtype != after.dtype or before.dtype is None or not before.dtype.is_floating_point():
        return False
    if before.shape is None or after.shape is None:
        return False
    same_rank = len(before.shape) == len(after.shape) >= 2
    return same_rank and (after.name or "").lower().startswith((before.name or "").lower())
