"""How much memory and time a call takes in float64, from the graph alone.

1. The sizes of all values at the call are found by `sizes`. What is not known counts as nothing.
2. Memory: the constants, and the most that the values that are still needed hold at once, at 8 bytes an element.
3. Time: multiply-adds of products, convolutions and recurrent layers, elements of all values, nodes, and steps of
   recurrent layers, each by what one core does in a second.
4. A body counts as often as it runs, and once where that is not known; of an If the branch that takes more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexport.onnx_files.operators import STACK
from rnnexport.parity.float64.sizes import SMALL, Known, sized

_BYTES = 8
_MULTIPLY_ADDS_PER_SECOND = 2e9
_ELEMENTS_PER_SECOND = 1e8
_STEPS_PER_SECOND = 2e4
_NODES_PER_SECOND = 5e4
_EVALUATIONS = 4
"""In float64 once, and three times with every value rounded; see `onnx_float64.float64_job`."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the reference of some calls takes."""

    memory_bytes: float
    """At most at once."""
    seconds: float
    """Of all calls, one after another, on one core."""
    complete: bool = True
    """Whether the sizes of all values are known, and how often each body runs; else it takes more."""

    def __str__(self) -> str:
        """For a sentence, such as `about 4.2 GB and 90 s`."""
        return f"{'about' if self.complete else 'at least'} {self.memory_bytes / 1e9:.1f} GB and {self.seconds:.0f} s"


def cost_of_calls(path: Path, calls: Sequence[Mapping[str, Sequence[int]]]) -> Cost:
    """Estimate the reference of a file at calls, each given as the shapes of the inputs."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:  # sizes do not depend on large ones
        if math.prod(tensor.dims) > SMALL:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    constants = sum(math.prod(tensor.dims) for tensor in model.graph.initializer) * _BYTES
    each = [_graph(sized(model, shapes), Known({}, {})) for shapes in calls]
    memory = constants + max((cost.memory_bytes for cost in each), default=0.0)
    return Cost(memory, _EVALUATIONS * sum(cost.seconds for cost in each), all(cost.complete for cost in each))


def _graph(graph: Any, outer: Known) -> Cost:
    """One evaluation of a graph or body, without the constants."""
    known = outer.inside(graph)
    constants = {tensor.name for tensor in graph.initializer}
    last = {name: number for number, node in enumerate(graph.node) for name in (*node.input, *node.output)}
    last |= {value.name: len(graph.node) for value in graph.output}
    held = {value.name: _size(known, value.name) for value in graph.input if value.name not in constants}
    most, seconds, complete = float(sum(held.values()) * _BYTES), 0.0, True
    for number, node in enumerate(graph.node):
        bodies = _bodies(node, known)
        made = {name: _size(known, name) for name in node.output if name}
        held |= made
        most = max(most, sum(held.values()) * _BYTES + bodies.memory_bytes)
        seconds += sum(made.values()) / _ELEMENTS_PER_SECOND + 1 / _NODES_PER_SECOND
        seconds += _products(node, known) + bodies.seconds
        complete &= bodies.complete and {*made} <= {*known.shapes}
        held = {name: size for name, size in held.items() if last.get(name, -1) > number}
    return Cost(most, seconds, complete)


def _bodies(node: Any, known: Known) -> Cost:
    """What a node's bodies take in all their runs."""
    each = [_graph(attribute.g, known) for attribute in node.attribute if attribute.HasField("g")]
    if not each:
        return Cost(0.0, 0.0)
    runs = known.runs(node)
    return Cost(
        max(cost.memory_bytes for cost in each),
        max(cost.seconds for cost in each) * (1 if runs is None else runs),
        runs is not None and all(cost.complete for cost in each),
    )


def _size(known: Known, name: str) -> int:
    return math.prod(known.shapes.get(name, [0]))


def _products(node: Any, known: Known) -> float:
    """Seconds of a node's multiply-adds and steps."""
    x, w = (known.shapes.get(name, []) for name in [*node.input, "", ""][:2])
    if not x or not w or not node.output:
        return 0.0
    made = _size(known, next(filter(None, node.output)))
    if node.op_type in ("MatMul", "Gemm", "MatMulInteger"):
        return made * x[-1] / _MULTIPLY_ADDS_PER_SECOND
    if node.op_type == "Conv":
        return made * math.prod(w[1:]) / _MULTIPLY_ADDS_PER_SECOND
    if node.op_type == "ConvTranspose":
        return math.prod(x) * math.prod(w[1:]) / _MULTIPLY_ADDS_PER_SECOND
    if node.op_type in ("LSTM", "GRU", "RNN") and len(x) == 3 and len(w) == 3:
        r = known.shapes.get(node.input[2], [0, 0, 0])
        return x[0] * x[1] * (math.prod(w) + math.prod(r)) / _MULTIPLY_ADDS_PER_SECOND + x[0] * w[0] / _STEPS_PER_SECOND
    if node.op_type == STACK and len(x) == 3:  # a byte of weights counts as one
        return x[0] * x[1] * w[0] / _MULTIPLY_ADDS_PER_SECOND + x[0] / _STEPS_PER_SECOND
    return 0.0
