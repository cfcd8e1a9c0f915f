"""Values that are the same at every call: constants, what is computed from them, and sizes that are numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.nodes import optional_input

_FOLDED = {
    "Add", "Cast", "Concat", "Div", "Expand", "Gather", "Identity", "Mul", "Neg", "Reshape", "Slice", "Split",
    "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip


class Constants:
    """The constant values of one model; each is computed once."""

    def __init__(self, model: ir.Model) -> None:
        self._opset = model.opset_imports.get("", 1)
        self._known: dict[ir.Value, NDArray[Any] | None] = {}

    def of(self, value: ir.Value | None) -> NDArray[Any] | None:
        """The array that `value` always is, or `None`. It must not be changed."""
        if value is None or value.is_graph_input():
            return None
        if value not in self._known:
            tensor = ir.convenience.get_const_tensor(value)
            self._known[value] = tensor.numpy() if tensor is not None else self._computed(value)
        return self._known[value]

    def integers(self, value: ir.Value | None) -> list[int] | None:
        """`of` as a list of integers."""
        array = self.of(value)
        return None if array is None or array.dtype.kind not in "iu" else [int(each) for each in array.reshape(-1)]

    def _computed(self, value: ir.Value) -> NDArray[Any] | None:
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Shape":
            return _sizes(node)
        if node.op_type == "Gather" and (sizes := self._gathered_size(node)) is not None:
            return sizes
        if node.op_type not in _FOLDED or not node.inputs:
            return None
        arrays = [self.of(each) for each in node.inputs]
        if any(array is None and each is not None for array, each in zip(arrays, node.inputs, strict=True)):
            return None
        return self._evaluated(node, arrays)[value.index() or 0]

    def _evaluated(self, node: ir.Node, arrays: list[NDArray[Any] | None]) -> list[NDArray[Any]]:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(ir.to_proto(node), opsets={"": self._opset})
        names = [each.name or "" if each is not None else "" for each in node.inputs]
        feeds = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
        return [np.asarray(array) for array in evaluator.run(None, feeds)]

    def _gathered_size(self, node: ir.Node) -> NDArray[Any] | None:
        """Single sizes of a shape that as a whole is not known."""
        data, positions = optional_input(node, 0), self.of(optional_input(node, 1))
        shape_node = data.producer() if data is not None else None
        if shape_node is None or shape_node.op_type != "Shape" or positions is None or shape_node.attributes:
            return None
        measured = optional_input(shape_node, 0)
        if measured is None or measured.shape is None:
            return None
        sizes = [measured.shape[int(position)] for position in positions.reshape(-1)]
        if not all(isinstance(size, int) for size in sizes):
            return None
        return np.array(sizes, np.int64).reshape(positions.shape)


def _sizes(node: ir.Node) -> NDArray[Any] | None:
    """What a Shape gives, where all of it is numbers."""
    value = optional_input(node, 0)
    if value is None or value.shape is None:
        return None
    sizes = value.shape[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(value.shape))]
    if not all(isinstance(size, int) for size in sizes):
        return None
    return np.array([int(size) for size in sizes if isinstance(size, int)], np.int64)
