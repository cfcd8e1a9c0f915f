"""How much memory and time a call takes in float64, from the graph alone; nothing is computed.

1. The shapes of all values are inferred for the sizes of the call. What inference does not find counts as nothing, and
   what the bodies of If, Loop and Scan hold likewise, so the figures are a lower bound for files with these.
2. Memory: the constants, and the most that the values that are still needed hold at once, at 8 bytes an element.
3. Time: multiply-adds of products, convolutions and recurrent layers, elements of all values, and steps of recurrent
   layers, each by what one core does in a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexport.onnx_files.operators import STACK

_BYTES = 8
_LARGE = 1024
_MULTIPLY_ADDS_PER_SECOND = 2e9
_ELEMENTS_PER_SECOND = 1e8
_STEPS_PER_SECOND = 2e4
_EVALUATIONS = 4
"""In float64 once, and three times with every value rounded; see `onnx_float64.float64_job`."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the reference of some calls takes."""

    memory_bytes: float
    """At most at once."""
    seconds: float
    """Of all calls, one after another, on one core."""

    def __str__(self) -> str:
        """For a sentence, such as `4.2 GB and 90 s`."""
        return f"{self.memory_bytes / 1e9:.1f} GB and {self.seconds:.0f} s"


def cost_of_calls(path: Path, calls: Sequence[Mapping[str, Sequence[int]]]) -> Cost:
    """Estimate the reference of a file at calls, each given as the shapes of the inputs."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:  # shapes do not depend on large ones
        if math.prod(tensor.dims) > _LARGE:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    constants = sum(math.prod(tensor.dims) for tensor in model.graph.initializer) * _BYTES
    each = [_call(_sized(model, shapes)) for shapes in calls]
    memory = constants + max((memory for memory, _ in each), default=0.0)
    return Cost(memory, _EVALUATIONS * sum(seconds for _, seconds in each))


def _sized(model: Any, shapes: Mapping[str, Sequence[int]]) -> Any:
    """The graph with the shapes of all values at this call."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.input:
        if value.name in shapes:
            del value.type.tensor_type.shape.dim[:]
            for size in shapes[value.name]:
                value.type.tensor_type.shape.dim.add().dim_value = size
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(copy, data_prop=True).graph


def _call(graph: Any) -> tuple[float, float]:
    """Bytes of the values that are needed at once, at most, and seconds of one evaluation."""
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.tensor_type.HasField("shape")
    } | {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    constants = {tensor.name for tensor in graph.initializer}
    last = {name: number for number, node in enumerate(graph.node) for name in (*node.input, *node.output)}
    last |= {value.name: len(graph.node) for value in graph.output}
    held: dict[str, int] = {value.name: _size(shapes, value.name) for value in graph.input if value.name in shapes}
    most, seconds = sum(held.values()), 0.0
    for number, node in enumerate(graph.node):
        made = {name: _size(shapes, name) for name in node.output if name}
        held |= made
        most = max(most, sum(held.values()))
        seconds += sum(made.values()) / _ELEMENTS_PER_SECOND + _products(node, shapes)
        held = {name: size for name, size in held.items() if last.get(name, -1) > number and name not in constants}
    return most * _BYTES, seconds


def _size(shapes: Mapping[str, Sequence[int]], name: str) -> int:
    return math.prod(shapes.get(name, [0]))


def _products(node: Any, shapes: Mapping[str, Sequence[int]]) -> float:
    """Seconds of a node's multiply-adds and steps."""
    x, w = (shapes.get(name, []) for name in [*node.input, "", ""][:2])
    if not x or not w or not node.output:
        return 0.0
    made = _size(shapes, next(filter(None, node.output)))
    if node.op_type in ("MatMul", "Gemm", "MatMulInteger"):
        return made * x[-1] / _MULTIPLY_ADDS_PER_SECOND
    if node.op_type == "Conv":
        return made * math.prod(w[1:]) / _MULTIPLY_ADDS_PER_SECOND
    if node.op_type == "ConvTranspose":
        return math.prod(x) * math.prod(w[1:]) / _MULTIPLY_ADDS_PER_SECOND
    if node.op_type in ("LSTM", "GRU", "RNN") and len(x) == 3 and len(w) == 3:
        r = shapes.get(node.input[2], [0, 0, 0])
        return x[0] * x[1] * (math.prod(w) + math.prod(r)) / _MULTIPLY_ADDS_PER_SECOND + x[0] * w[0] / _STEPS_PER_SECOND
    if node.op_type == STACK and len(x) == 3:  # a byte of weights counts as one
        return x[0] * x[1] * w[0] / _MULTIPLY_ADDS_PER_SECOND + x[0] / _STEPS_PER_SECOND
    return 0.0
