"""What a graph does with each of its inputs, read off the graph.

1. What reaches the `sequence_lens` of a recurrent node, through casts only, counts time steps: `lengths`. So does a
   list of integers that is compared, through changes of layout, or that says how far to reverse, as in graphs that have
   their lengths outside the recurrent nodes.
2. What reaches the indices of a Gather whose data are known, through casts only, is `indices` below the data's size.
3. What reaches `initial_h` or `initial_c`, through changes of layout only, is a `state`.
4. Anything else is `features`.

Run it before `ExactLengths`, which takes `sequence_lens` away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from rnnexport.onnx_files.operators import INITIAL_C, INITIAL_H, LAYOUT, QUANTIZED_LSTM, RECURRENT, SEQUENCE_LENS

Role = Literal["features", "lengths", "indices", "state"]
_LAYERS = (*RECURRENT, QUANTIZED_LSTM)
_SAME_VALUES = ("Cast", "Identity")
_SAME_LAYOUT = LAYOUT - {"Concat"}
_COMPARISONS = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual")


@dataclass(frozen=True, slots=True)
class InputKind:
    """What one graph input is for."""

    role: Role
    upper_bound: int | None = None
    """For `indices`: every value must lie below it."""
    counted_dimension: str | None = None
    """For `lengths`: the symbolic dimension whose steps it counts, where the graph names it."""


def input_kinds(model: ir.Model) -> dict[str, InputKind]:
    """Return the role of each input of the graph, by name."""
    return {value.name or "": _role(value) for value in model.graph.inputs}


def _role(value: ir.Value) -> InputKind:
    for user, position in _uses(value, _SAME_VALUES):
        if user.op_type in _LAYERS and position == SEQUENCE_LENS:
            return InputKind("lengths", counted_dimension=_time_dimension(user))
        if user.op_type == "Gather" and position == 1 and (size := _gathered_size(user)) is not None:
            return InputKind("indices", upper_bound=size)
    for user, position in _uses(value, _SAME_LAYOUT):
        if _is_list_of_integers(value) and (
            user.op_type in _COMPARISONS or (user.op_type == "ReverseSequence" and position == 1)
        ):
            return InputKind("lengths")
        if user.op_type in _LAYERS and position in (INITIAL_H, INITIAL_C):
            return InputKind("state")
    return InputKind("features")


def _is_list_of_integers(value: ir.Value) -> bool:
    is_list = value.shape is not None and len(value.shape) == 1
    return is_list and value.dtype is not None and value.dtype.is_integer()


def _uses(value: ir.Value, through: Collection[str]) -> Iterator[tuple[ir.Node, int]]:
    """Yield every node and input position that `value` reaches, passing through the first input of `through` only."""
    reached = {value: None}  # in order; a long chain of nodes is no reason to recurse
    for each in (values := [value]):
        for node, position in each.uses():
            yield node, position
            if node.op_type in through and position == 0:
                new = [output for output in node.outputs if output not in reached]
                reached |= dict.fromkeys(new)
                values.extend(new)


def _gathered_size(node: ir.Node) -> int | None:
    """Size of the constant's axis that a Gather picks from."""
    data = node.inputs[0]
    axis = node.attributes.get_int("axis", 0)
    if data is None or data.const_value is None:
        return None
    size = data.const_value.shape[axis]
    return size if isinstance(size, int) else None


def _time_dimension(node: ir.Node) -> str | None:
    """Name of the time dimension of X [T, B, I], or [B, T, I] where the layout is so."""
    x, axis = node.inputs[0], node.attributes.get_int("layout", 0)
    size = x.shape[axis] if x is not None and x.shape is not None else None
    return size.value if isinstance(size, ir.SymbolicDim) else None
