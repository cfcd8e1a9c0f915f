"""The sizes of all values of a graph at one call, those of bodies included; nothing large is computed.

1. onnx infers shapes from those of the inputs.
2. Whole numbers that follow from shapes, such as how often a Loop runs, are computed and become constants.
3. Of a Loop onnx infers little: its states are taken to keep their shapes, and its other outputs have as many rows as
   it runs.
4. All of that again, until nothing new is found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rnnexport.parity.float64.graph import Compiler, constant
from rnnexport.parity.float64.supported_operators import proven_kernel

SMALL = 1024
"""Elements that may be computed."""
_ENDLESS = 2**31 - 1
"""From this number of runs on, a Loop is meant to end by its condition."""
_STATES = 2
"""Where the states of a Loop begin among its inputs."""
_ROUNDS = 20
"""Of inference at most, so that no contradictory file keeps it busy for ever."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the values that a graph sees, those of the graphs around it included."""

    shapes: Mapping[str, Sequence[int]]
    """A size that is not known is 0."""
    numbers: Mapping[str, NDArray[Any]]
    """Small constants."""

    def inside(self, graph: Any) -> Self:
        """With the values of a graph."""
        values = [v for v in (*graph.input, *graph.output, *graph.value_info) if v.type.tensor_type.HasField("shape")]
        shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
        shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
        return type(self)({**self.shapes, **shapes}, {**self.numbers, **_small_constants(graph)})

    def shape(self, name: str) -> Sequence[int] | None:
        """The shape, where all of it is known."""
        shape = self.shapes.get(name)
        return None if shape is None or 0 in shape else shape

    def runs(self, node: Any) -> int | None:
        """How often a node runs its body."""
        if node.op_type == "Loop":
            most = self.numbers.get(node.input[0])
            return None if most is None or most.item() >= _ENDLESS else int(most.item())
        if node.op_type == "Scan":
            attributes = {attribute.name: attribute for attribute in node.attribute}
            shape = self.shape(node.input[len(node.input) - attributes["num_scan_inputs"].i])
            axes = attributes["scan_input_axes"].ints if "scan_input_axes" in attributes else [0]
            return None if shape is None else shape[axes[0]]
        return 1


def sized(model: Any, shapes: Mapping[str, Sequence[int]]) -> Any:
    """Return the graph with the shapes of its values where inputs have these."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.input:
        if value.name in shapes:
            _set_shape(value, shapes[value.name])
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    compiler = Compiler(opset, lambda node, version: proven_kernel(node, version, lambda x: x), lambda x: x)
    for _ in range(_ROUNDS):
        copy = onnx.shape_inference.infer_shapes(copy, data_prop=True)
        if not _learn(copy.graph, Known({}, {}), compiler):
            break
    return copy.graph


def _small_constants(graph: Any) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    small = [t for t in graph.initializer if math.prod(t.dims) <= SMALL and not t.external_data]
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in small}


def _learn(graph: Any, outer: Known, compiler: Compiler) -> bool:
    """Write into a graph what follows from the shapes in it; whether there was anything."""
    from onnx import numpy_helper

    known = outer.inside(graph)
    numbers, kept = dict(known.numbers), []
    for node in graph.node:
        if found := _whole_numbers(node, Known(known.shapes, numbers), compiler):
            numbers |= found
            graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in found.items())
        else:
            kept.append(node)
    learnt = len(kept) < len(graph.node)
    known = Known(known.shapes, numbers)
    for node in kept:
        bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        learnt |= node.op_type == "Loop" and _learn_of_loop(graph, node, bodies[0], known)
        for body in bodies:
            learnt |= _learn(body, known, compiler)
    del graph.node[:]
    graph.node.extend(kept)
    return learnt


def _whole_numbers(node: Any, known: Known, compiler: Compiler) -> dict[str, NDArray[Any]]:
    """The output of a node that has one, where it is known to be few whole numbers."""
    if node.op_type == "Shape" and not node.attribute and (shape := known.shape(node.input[0])) is not None:
        return {node.output[0]: np.array(shape, np.int64)}
    if len(node.output) != 1 or not {*node.input} - {""} <= {*known.numbers}:
        return {}
    try:
        if node.op_type == "Constant":
            result = constant(node, compiler.constant)
        else:
            described = compiler.node(node)
            inputs = [known.numbers[name] if name else None for name in node.input]
            (result,) = compiler.kernel(described, compiler.opset)(described, *inputs)
    except Exception:  # it has no reference, or a kernel raises what comes
        return {}
    array = np.asarray(result)
    return {node.output[0]: array} if array.dtype.kind in "ib" and array.size <= SMALL else {}


def _learn_of_loop(graph: Any, node: Any, body: Any, known: Known) -> bool:
    states = [known.shape(name) for name in node.input[_STATES:]]
    runs, inner = known.runs(node), known.inside(body)
    rows = [inner.shape(value.name) for value in body.output[1 + len(states) :]]
    stacked = [None if row is None or runs is None else [runs, *row] for row in rows]
    outside = {value.name: value for value in (*graph.value_info, *graph.output)}
    pairs = [
        *zip(body.input, [[], [], *states], strict=False),
        *((outside.get(name), shape) for name, shape in zip(node.output, [*states, *stacked], strict=False)),
    ]
    learnt = [_set_shape(value, shape) for value, shape in pairs if value is not None and shape is not None]
    return any(learnt)


def _set_shape(value: Any, shape: Sequence[int]) -> bool:
    """Set the shape of a value; whether that is new."""
    tensor = value.type.tensor_type
    if tensor.HasField("shape") and [d.dim_value for d in tensor.shape.dim] == list(shape):
        return False
    tensor.ClearField("shape")
    tensor.shape.SetInParent()
    for size in shape:
        tensor.shape.dim.add().dim_value = size
    return True
