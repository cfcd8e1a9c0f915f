"""Inputs of any length of which a fixed part is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.inspecting.layers import data_inputs, recurrent_nodes
from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import constant_tensor, optional_input

_ELEMENTWISE = frozenset(
    ("Add", "Cast", "Clip", "Div", "Identity", "Mul", "Neg", "Relu", "Sigmoid", "Sub", "Tanh", "Where")
)
_MANY = 10_000
"""Steps; a longer stretch stands for all of them."""


class IgnoredSteps(Rule):
    """A dynamic dimension that is read at constant indices only.

    The exporter met a free dimension, took the size 1 for it and unrolled the loop over time at that size. The input
    still says that any length is welcome.

    Example:
        x: float[batch, time, 10]
        x0 = Gather <axis=1> (x, 0)          # and no other step is read
        h = Tanh(MatMul(x0, W))
    """

    name = "ignored-steps"
    severity = "error"
    title = "an input may have any length, and a fixed part of it is read"
    consequences = {
        "every runtime": "what lies beyond is ignored without a word, and a short series is refused; export again with "
        "an exporter that keeps the time axis (Keras' own writes such files; rnnexport export model.keras does not)"
    }

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look at files with recurrent layers or cells; finding cells takes longest, and comes last."""
        found = [*_read_at_constants(checked.model)]
        if found and (recurrent_nodes(checked.model) or checked.decomposed_cells):
            yield from found


def _read_at_constants(model: ir.Model) -> Iterator[tuple[str, str]]:
    """Follow each dynamic dimension of a real-valued input to all of its readers."""
    for value in data_inputs(model):
        if value.shape is None or value.dtype is None or not value.dtype.is_floating_point():
            continue
        for axis, size in enumerate(value.shape):
            read = None if isinstance(size, int) else _constant_indices(value, axis)
            if read:
                places = ", ".join(map(str, sorted(read)))
                name = f" ({size.value})" if isinstance(size, ir.SymbolicDim) and size.value else ""
                yield value.name or "", f"dimension {axis}{name} is dynamic, and is read at {places} only"


def _constant_indices(value: ir.Value, axis: int) -> set[int] | None:
    """The indices at which all readers of `value` read `axis`; `None` where one reads it whole, or may."""
    found: set[int] = set()
    waiting, seen = [(value, axis)], {(value, axis)}
    while waiting:
        value, axis = waiting.pop()
        if value.is_graph_output() or value.shape is None:
            return None
        for node, position in value.uses():
            if node.op_type in ("Shape", "Size"):
                continue
            if (read := _read_by(node, position, axis)) is not None:
                found |= read
            elif (after := _axis_after(node, position, axis, len(value.shape))) is not None:
                made = (node.outputs[0], after)
                waiting.extend({made} - seen)
                seen.add(made)
            else:
                return None
    return found


def _read_by(node: ir.Node, position: int, axis: int) -> set[int] | None:
    """The constant indices at which a Gather or Slice reads the axis."""
    shape = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
    if position != 0 or shape is None:
        return None
    if node.op_type == "Gather":
        indices = _constant(node, 1)
        gathered = node.attributes.get_int("axis", 0) % len(shape)
        return {int(index) for index in indices.ravel()} if indices is not None and gathered == axis else None
    if node.op_type == "Slice":
        starts, ends, axes, steps = (_constant(node, index) for index in range(1, 5))
        if starts is None or ends is None:
            return None
        along = [int(a) % len(shape) for a in axes] if axes is not None else list(range(len(starts)))
        if axis not in along:
            return None
        start, end = int(starts[along.index(axis)]), int(ends[along.index(axis)])
        step = 1 if steps is None else int(steps[along.index(axis)])
        if step > 0 and (0 <= start < end or start < end < 0) and end - start <= _MANY:
            return set(range(start, end, step))
    return None


def _axis_after(node: ir.Node, position: int, axis: int, rank: int) -> int | None:
    """Where the axis stands in the node's output, where the node leaves it whole and in order."""
    if node.op_type == "Transpose":
        permutation = list(node.attributes.get_ints("perm", list(reversed(range(rank)))))
        return permutation.index(axis)
    result = node.outputs[0].shape
    if node.op_type == "MatMul" and position == 0 and axis < rank - 1:
        return axis
    if node.op_type in _ELEMENTWISE and result is not None:
        return axis + len(result) - rank
    if node.op_type in ("Squeeze", "Unsqueeze") and position == 0:
        axes = _constant(node, 1)
        if axes is None or result is None:
            return None
        wide = max(rank, len(result))
        changed = sorted(int(a) % wide for a in axes.ravel())
        if node.op_type == "Squeeze":
            return None if axis in changed else axis - sum(a < axis for a in changed)
        kept = [place for place in range(wide) if place not in changed]
        return kept[axis]
    return None


def _constant(node: ir.Node, index: int) -> NDArray[Any] | None:
    tensor = constant_tensor(optional_input(node, index))
    return None if tensor is None else tensor.numpy()
