"""Parts of a tensor: columns, which are elements of its last axis, and elements of another axis, such as time steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.nodes import optional_input
from rnnexport.passes.recognising.constants import Constants

Columns = NDArray[np.int64]
LARGEST_STATE = 1_000_000
"""Numbers in a constant that is looked into for more than its being a weight."""
_ELEMENTWISE = ("Add", "Identity", "Mul", "Neg", "Sigmoid", "Sub", "Tanh")


@dataclass(frozen=True, slots=True)
class SelectedValue:
    """A value, or its element `index` along `axis`."""

    value: ir.Value
    axis: int | None = None
    index: int = 0
    origin: ir.Value | None = field(default=None, compare=False)
    """The value in the graph that is this element."""

    @property
    def tensor(self) -> ir.Value:
        """The value in the graph that is meant."""
        return self.value if self.origin is None else self.origin


class Selections:
    """Says what each value of a model is a part of."""

    def __init__(self, constants: Constants) -> None:
        self.constants = constants
        self._kinds: dict[tuple[Any, ...], ir.Value] = {}
        self._widths: dict[ir.Value, int | None] = {}

    def columns(self, node: ir.Node, output: ir.Value) -> tuple[ir.Value, Columns] | None:
        """The value and the columns of it that `node` takes for `output`; `None` where it does something else."""
        taken = optional_input(node, 0)
        width = self.width(taken)
        if taken is None or width is None:
            return None
        if node.op_type == "Identity":
            return taken, np.arange(width)
        found = self._elements(node, output)
        if found is None or found[0] != len(taken.shape or ()) - 1 or len(found[1].shape) == 0:
            return None
        return taken, found[1]

    def source(self, value: ir.Value) -> SelectedValue:
        """What `value` is an element of; itself where it is none, or an element of the last axis."""
        whole = self._first_of_its_kind(without_identity(value))
        node = whole.producer()
        found = None if node is None else self._squeezed(node) if node.op_type == "Squeeze" else self._picked(node)
        return SelectedValue(whole) if found is None else SelectedValue(*found, value)

    def _picked(self, node: ir.Node) -> tuple[ir.Value, int, int] | None:
        """The value, axis and index of a single element that a Gather takes."""
        data, found = optional_input(node, 0), self._elements(node, node.outputs[0])
        if found is None or data is None or found[1].ndim or found[0] == len(data.shape or ()) - 1:
            return None
        return without_identity(data), found[0], int(found[1])

    def _squeezed(self, node: ir.Node) -> tuple[ir.Value, int, int] | None:
        """The same of a Squeeze after a Split, Slice or Gather, or of an axis of size 1."""
        part, axes = optional_input(node, 0), self._integers(node, "axes", 1)
        if part is None or part.shape is None or axes is None or len(axes) != 1:
            return None
        axis = axes[0] % len(part.shape)
        maker = part.producer()
        data, found = (None, None) if maker is None else (optional_input(maker, 0), self._elements(maker, part))
        if axis == len(part.shape) - 1:
            return None
        if data is not None and found is not None and found[0] == axis and found[1].size == 1:
            return without_identity(data), axis, int(found[1].reshape(-1)[0])
        return (without_identity(part), axis, 0) if part.shape[axis] == 1 else None

    def _first_of_its_kind(self, value: ir.Value) -> ir.Value:
        """Of constants with the same content, such as the zeros that several operators start from, always the same."""
        array = self.constants.of(value)
        if array is None or array.size > LARGEST_STATE:
            return value
        return self._kinds.setdefault((array.dtype.str, array.shape, array.tobytes()), value)

    def width(self, value: ir.Value | None) -> int | None:
        """Size of the last axis, where it is a number; known here beyond what shape inference finds."""
        if value is None:
            return None
        if value not in self._widths:
            self._widths[value] = _declared_width(value) or self._found_width(value)
        return self._widths[value]

    def _found_width(self, value: ir.Value) -> int | None:
        node = value.producer()
        if node is not None and node.op_type in _ELEMENTWISE:
            return max((size for each in node.inputs if (size := self.width(each))), default=None)
        found = self.columns(node, value) if node is not None else None
        return len(found[1]) if found is not None else None

    def _elements(self, node: ir.Node, output: ir.Value) -> tuple[int, Columns] | None:
        """The axis that a Split, Slice or Gather works along, and the elements it takes."""
        data = optional_input(node, 0)
        if data is None or data.shape is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Slice":
            return self._slice(node, data.shape)
        if node.op_type not in ("Split", "Gather"):
            return None
        axis = node.attributes.get_int("axis", 0) % len(data.shape)
        size = self.width(data) if axis == len(data.shape) - 1 else data.shape[axis]
        if node.op_type == "Gather":
            return self._gathered(axis, size, self.constants.of(optional_input(node, 1)))
        sizes = self._sizes(node, size) if isinstance(size, int) else None
        if sizes is None:
            return None
        position = output.index() or 0
        return axis, np.arange(sum(sizes[:position]), sum(sizes[: position + 1]))

    def _gathered(self, axis: int, size: Any, indices: NDArray[Any] | None) -> tuple[int, Columns] | None:
        if indices is None or (np.any(indices < 0) and not isinstance(size, int)):
            return None
        return axis, np.where(indices < 0, indices + (size if isinstance(size, int) else 0), indices).astype(np.int64)

    def _sizes(self, node: ir.Node, size: int) -> list[int] | None:
        """What a Split makes of an axis."""
        given = self._integers(node, "split", 1)
        if given is not None or optional_input(node, 1) is not None:
            return given
        each = -(-size // len(node.outputs))
        return [min(each, size - each * number) for number in range(len(node.outputs))]

    def _integers(self, node: ir.Node, attribute: str, position: int) -> list[int] | None:
        """Numbers that older operator sets have as an attribute, newer ones as an input."""
        if attribute in node.attributes:
            return list(node.attributes[attribute].as_ints())
        return self.constants.integers(optional_input(node, position))

    def _slice(self, node: ir.Node, shape: ir.Shape) -> tuple[int, Columns] | None:
        """Of one axis; the numbers must be known."""
        given = [self.constants.integers(each) for each in node.inputs[1:]]
        if any(each is None or len(each) != 1 for each in given):
            return None
        numbers = [each[0] for each in given if each is not None]
        start, end, axis, step = (*numbers, *(0, 1)[len(numbers) - 2 :])
        axis %= len(shape)
        size = self.width(node.inputs[0]) if axis == len(shape) - 1 else shape[axis]
        if isinstance(size, int):
            return axis, np.arange(size)[start : _end(end, size, step) : step]
        return (axis, np.arange(start, end)) if step == 1 and start >= 0 and end == start + 1 else None


def _end(end: int, size: int, step: int) -> int | None:
    """The end as Python takes it: below the first element, going backwards, is `None`."""
    return None if step < 0 and end < -size else end


def _declared_width(value: ir.Value) -> int | None:
    """Size of the last axis where it is a number."""
    if value.shape is None or len(value.shape) == 0:
        return None
    size = value.shape[-1]
    return size if isinstance(size, int) else None


def without_identity(value: ir.Value) -> ir.Value:
    """The value that `value` is a copy of."""
    node = value.producer()
    while node is not None and node.op_type == "Identity" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value
