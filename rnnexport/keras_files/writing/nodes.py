"""Nodes and constants of a graph, with the operators that layers are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from rnnexport.keras_files.weights import Weight
from rnnexport.onnx_files.writer import Attributes, GraphWriter


class Nodes:
    """Writes the nodes of one layer, whose names begin with the layer's."""

    def __init__(self, writer: GraphWriter, name: str) -> None:
        self.writer, self.name = writer, name

    def called(self, name: str) -> Nodes:
        """Likewise, under a longer name."""
        return Nodes(self.writer, f"{self.name}.{name}")

    def op(self, op_type: str, *inputs: ir.Value | None, as_: str = "", **attributes: Attributes) -> ir.Value:
        """Write a node of one output; `as_` says what it is."""
        return self.writer.op(op_type, inputs, f"{self.name}.{as_ or op_type.lower()}", **attributes)

    def weight(self, weight: Weight) -> ir.Value:
        """A weight as it is, in float32."""
        return self.floats(weight.value, weight.name)

    def floats(self, array: ArrayLike, name: str = "number") -> ir.Value:
        """A constant of float32."""
        return self.writer.constant(np.ascontiguousarray(np.asarray(array, np.float32)), f"{self.name}.{name}")

    def whole(self, array: ArrayLike, name: str = "sizes") -> ir.Value:
        """A constant of int64."""
        return self.writer.constant(np.asarray(array, np.int64), f"{self.name}.{name}")

    def reshape(self, x: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Another shape; 0 leaves a size as it is, -1 is what remains."""
        return self.op("Reshape", x, self.whole(shape, "shape"))

    def transpose(self, x: ir.Value, order: Sequence[int]) -> ir.Value:
        """Axes in another order."""
        return self.op("Transpose", x, perm=list(order))

    def squeeze(self, x: ir.Value, axis: int) -> ir.Value:
        """Without an axis of size 1."""
        return self.op("Squeeze", x, self.whole([axis], "axis"))

    def unsqueeze(self, x: ir.Value, *axes: int) -> ir.Value:
        """With new axes of size 1."""
        return self.op("Unsqueeze", x, self.whole(axes, "axis"))

    def size(self, x: ir.Value, axis: int) -> ir.Value:
        """The size of one axis, [1]."""
        return self.op("Shape", x, as_=f"size_{axis}", start=axis, end=axis + 1)

    def cut(self, x: ir.Value, axis: int, start: int, end: int, step: int = 1) -> ir.Value:
        """A part along an axis."""
        limits = [self.whole([number], "limit") for number in (start, end, axis, step)]
        return self.op("Slice", x, *limits)

    def reversed(self, x: ir.Value, axis: int) -> ir.Value:
        """From the end to the beginning along an axis."""
        return self.cut(x, axis, -1, -(2**31), -1)

    def pick(self, x: ir.Value, index: int, axis: int) -> ir.Value:
        """One element along an axis, which is gone then."""
        return self.op("Gather", x, self.whole(index, "index"), axis=axis)

    def cast(self, x: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Another type."""
        return self.op("Cast", x, to=dtype)

    def reduce(self, kind: str, x: ir.Value, axes: Sequence[int], *, keepdims: bool = False) -> ir.Value:
        """ReduceSum, ReduceMean, ReduceMax … over axes."""
        return self.op(f"Reduce{kind}", x, self.whole(axes, "axes"), keepdims=int(keepdims))

    def add(self, x: ir.Value, bias: Weight | None) -> ir.Value:
        """With a bias, if there is one."""
        return x if bias is None else self.op("Add", x, self.weight(bias))


def gate_rows(array: NDArray[Any], order: Sequence[int]) -> NDArray[Any]:
    """Columns [.., G·U] in another order of gates, as rows [G·U, ..]."""
    gates = np.split(array, len(order), axis=-1)
    return np.concatenate([gates[gate] for gate in order], axis=-1).T
