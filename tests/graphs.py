"""ONNX models for tests, built node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
Shape = Sequence[int | str] | None


def value(name: str, shape: Shape, dtype: DTypeLike = np.float32) -> onnx.ValueInfoProto:
    """An input or output; dimensions that have names are dynamic."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


class Graph:
    """A graph under construction."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(
        self, op_type: str, *inputs: str, outputs: int | Sequence[str] = 1, name: str | None = None, **attributes: Any
    ) -> Any:
        """Add a node; return the name of its output, or the names of several. `outputs`: how many, or their names."""
        number = len(self.nodes)
        names = [f"v{number}_{each}" for each in range(outputs)] if isinstance(outputs, int) else list(outputs)
        self.nodes.append(
            helper.make_node(op_type, inputs, names, f"n{number}" if name is None else name, **attributes)
        )
        return names[0] if len(names) == 1 else names

    def constant(self, array: ArrayLike, dtype: DTypeLike = np.float32, name: str | None = None) -> str:
        """Add an initializer."""
        name = name or f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def weights(
        self,
        op_type: str,
        input_size: int,
        hidden_size: int,
        names: Sequence[str] = ("W", "R"),
        *,
        directions: int = 1,
        seed: int = 0,
    ) -> list[str]:
        """Add W [directions, gates · hidden, input] and R [directions, gates · hidden, hidden], drawn at random."""
        generator, rows = np.random.default_rng(seed), GATES[op_type] * hidden_size
        return [
            self.constant(generator.normal(scale=0.5, size=(directions, rows, columns)), name=name)
            for name, columns in zip(names, (input_size, hidden_size), strict=True)
        ]

    def with_axes(self, op_type: str, operand: str, *axes: int, outputs: int | Sequence[str] = 1) -> Any:
        """Add a Squeeze or Unsqueeze, whose axes were an attribute before operator set 13."""
        if self.opset < 13:
            return self.op(op_type, operand, outputs=outputs, axes=axes)
        return self.op(op_type, operand, self.constant(axes, np.int64), outputs=outputs)

    def split(self, operand: str, sizes: Sequence[int], axis: int) -> Any:
        """Add a Split, whose sizes were an attribute before operator set 13."""
        if self.opset < 13:
            return self.op("Split", operand, outputs=len(sizes), axis=axis, split=sizes)
        return self.op("Split", operand, self.constant(sizes, np.int64), outputs=len(sizes), axis=axis)

    def proto(
        self, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], types: Mapping[str, DTypeLike] = {}
    ) -> onnx.GraphProto:
        """The graph; inputs and outputs are float32 where `types` says nothing else."""
        taken, given = (
            [value(name, shape, types.get(name, np.float32)) for name, shape in shapes.items()]
            for shapes in (inputs, outputs)
        )
        return helper.make_graph(self.nodes, "graph", taken, given, self.constants)

    def model(
        self,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        types: Mapping[str, DTypeLike] = {},
        *,
        ir_version: int = 8,
        producer: str = "",
    ) -> onnx.ModelProto:
        """The model; see `proto`."""
        opsets = [helper.make_opsetid("", self.opset)]
        graph = self.proto(inputs, outputs, types)
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name=producer)


def in_both_branches(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model within an `If` on a new input `choice`; both branches read its inputs from outside."""
    outside = {"", *(value.name for value in model.graph.input)}
    branches = []
    for name in ("then", "else"):
        branch = onnx.GraphProto()
        branch.CopyFrom(model.graph)
        del branch.input[:]
        branch.name = name
        for each in (*branch.initializer, *branch.output):
            each.name = f"{name}.{each.name}"
        for node in branch.node:
            node.name = f"{name}.{node.name}"
            node.input[:] = [each if each in outside else f"{name}.{each}" for each in node.input]
            node.output[:] = [f"{name}.{each}" for each in node.output]
        branches.append(branch)
    outputs = [value.name for value in model.graph.output]
    choice = helper.make_node("If", ["choice"], outputs, then_branch=branches[0], else_branch=branches[1])
    inputs = [*model.graph.input, value("choice", [], np.bool_)]
    graph = helper.make_graph([choice], "outer", inputs, model.graph.output)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
