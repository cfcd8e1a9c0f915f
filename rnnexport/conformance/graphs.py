"""An example as an ONNX model, with the feeds of its calls and what the operator specification says must come out.

1. Weights are initializers; X, lengths and initial states are graph inputs. Every output of a node that the example
   asks for is a graph output.
2. A node that reads the previous one takes its Y with the directions side by side, [T, B, D·H] or [B, T, D·H].
3. Numbers have two decimals, so that a minimal case is legible and no threshold is hit exactly. X holds numbers on
   padding too: who reads them is found out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rnnexport.conformance.examples import TAKE_ALPHA, TAKE_BETA, Example, Node
from rnnexport.onnx_files.operators import GATES
from rnnexport.parity.recurrent_operators import evaluate

Arrays = dict[str, NDArray[Any]]
_INPUTS = {
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
}
_WEIGHTS = ("W", "R", "B", "P")
_OUTPUTS = {"LSTM": ("Y", "Y_h", "Y_c"), "GRU": ("Y", "Y_h")}
_IR_VERSION = 10


@dataclass(frozen=True, slots=True)
class Placed:
    """A node in its place in the graph. Names of values carry its number where there is more than one node."""

    node: Node
    number: int
    suffix: str
    input_size: int
    example: Example

    def name(self, value: str) -> str:
        """A value's name in the graph."""
        return value + self.suffix

    @property
    def inputs(self) -> tuple[str, ...]:
        """The operator's inputs that the node has."""
        return tuple(
            name
            for name in _INPUTS[self.node.op_type]
            if name in ("X", "W", "R") or getattr(self.node, name) not in (False, "absent")
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """The operator's outputs that are outputs of the graph."""
        names = _OUTPUTS[self.node.op_type]
        return {"all": names, "Y": names[:1], "final": names[1:]}[self.node.outputs]

    @property
    def weights(self) -> Arrays:
        """Initializers, by the operator's names."""
        size, directions, gates = self.node.hidden_size, self.node.directions, len(GATES[self.node.op_type])
        shapes = {
            "W": (directions, gates * size, self.input_size),
            "R": (directions, gates * size, size),
            "B": (directions, 2 * gates * size),
            "P": (directions, 3 * size),
        }
        return {name: self._numbers(name, shapes[name], fan_in=size) for name in _WEIGHTS if name in self.inputs}

    @property
    def attributes(self) -> dict[str, Any]:
        """What is not left to its default."""
        node = self.node
        found: dict[str, Any] = {"hidden_size": node.hidden_size}
        simple = {"direction": "forward", "clip": None, "input_forget": 0, "linear_before_reset": 0, "layout": 0}
        found |= {name: getattr(node, name) for name, usual in simple.items() if getattr(node, name) != usual}
        if node.activations:
            found["activations"] = list(node.activations)
        if node.alpha_and_beta == "given":
            # Each value differs, so that taking another activation's shows.
            found["activation_alpha"] = [0.5 + i / 8 for i in range(sum(a in TAKE_ALPHA for a in node.activations))]
            found["activation_beta"] = [0.25 + i / 8 for i in range(sum(a in TAKE_BETA for a in node.activations))]
        return {name: value for name, value in found.items() if value != []}

    def states_shape(self, batch: Any) -> tuple[Any, ...]:
        """Of initial and final states; `batch` may be a symbolic dimension."""
        directions, size = self.node.directions, self.node.hidden_size
        return (batch, directions, size) if self.node.layout else (directions, batch, size)

    def y_shape(self, batch: Any, time: Any) -> tuple[Any, ...]:
        """Of Y."""
        directions, size = self.node.directions, self.node.hidden_size
        return (batch, time, directions, size) if self.node.layout else (time, directions, batch, size)

    def feeds(self, call: int, batch: int, time: int) -> Arrays:
        """Lengths and initial states of a call, by the operator's names."""
        shape = self.states_shape(batch)
        given = [name for name in ("initial_h", "initial_c") if name in self.inputs]
        states: Arrays = {name: self._numbers(f"{name}{call}", shape) for name in given}
        if self.node.sequence_lens == "absent":
            return states
        return {"sequence_lens": self._lengths(call, batch, time), **states}

    def _lengths(self, call: int, batch: int, time: int) -> NDArray[np.int32]:
        lengths = np.full(batch, time, np.int32)
        if self.node.sequence_lens != "full":
            random = _random(self.example.data_seed, f"sequence_lens{call}{self.suffix}")
            lengths = random.integers(1, time + 1, batch).astype(np.int32)
            lengths[-1] = max(1, time - 1) if self.node.sequence_lens == "shorter" else 0
        return lengths

    def _numbers(self, name: str, shape: tuple[int, ...], fan_in: int = 0) -> NDArray[np.float32]:
        return numbers(self.example.data_seed, name + self.suffix, shape, fan_in)


def placed_nodes(example: Example) -> list[Placed]:
    """The nodes with their numbers and input sizes."""
    found: list[Placed] = []
    for number, node in enumerate(example.nodes):
        suffix = str(number) if len(example.nodes) > 1 else ""
        size = example.input_size
        if node.input == "previous":
            size = found[-1].node.hidden_size * found[-1].node.directions
        found.append(Placed(node, number, suffix, size, example))
    return found


def build_model(example: Example) -> onnx.ModelProto:
    """The example's graph."""
    placed = placed_nodes(example)
    nodes = [node for each in placed for node in _nodes(each, placed)]
    weights = [
        numpy_helper.from_array(array, each.name(name)) for each in placed for name, array in each.weights.items()
    ]
    if any(each.node.input == "previous" for each in placed):
        weights.append(numpy_helper.from_array(np.array([0, 0, -1], np.int64), "side_by_side"))
    batch, time = _sizes(example)
    inputs = [_value("X", (*_leading(example, time, batch), example.input_size))]
    outputs = []
    for each in placed:
        states = each.states_shape(batch)
        shapes = {name: (batch,) if name == "sequence_lens" else states for name in each.feeds(0, 1, 1)}
        inputs += [_value(each.name(name), shape) for name, shape in shapes.items()]
        outputs += [
            _value(each.name(name), each.y_shape(batch, time) if name == "Y" else states) for name in each.outputs
        ]
    graph = helper.make_graph(nodes, "example", inputs, outputs, weights)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", example.opset)], ir_version=_IR_VERSION, producer_name="rnnexport"
    )


def call_feeds(example: Example) -> list[Arrays]:
    """The feeds of each call."""
    found = []
    for call, (batch, time) in enumerate(example.calls()):
        shape = (*_leading(example, time, batch), example.input_size)
        feeds: Arrays = {"X": numbers(example.data_seed, f"X{call}", shape)}
        for each in placed_nodes(example):
            feeds |= {each.name(name): array for name, array in each.feeds(call, batch, time).items()}
        found.append(feeds)
    return found


def expected_outputs(example: Example, feeds: Mapping[str, NDArray[Any]], rounding: float = 0.0) -> Arrays:
    """All outputs of the graph in float64, by the operator specification.

    Args:
        example: The graph.
        feeds: Of one call.
        rounding: Moves every number that enters a node by this fraction of itself, up or down at random.
    """
    outputs: Arrays = {}
    previous: NDArray[Any] = np.empty(0)
    x_layout = example.nodes[0].layout
    for each in placed_nodes(example):
        x = feeds["X"] if each.node.input == "graph" else previous
        source_layout = x_layout if each.node.input == "graph" else example.nodes[each.number - 1].layout
        arrays = {"X": x if source_layout == each.node.layout else x.swapaxes(0, 1), **each.weights}
        arrays |= {name: feeds[each.name(name)] for name in each.feeds(0, 1, 1)}
        moved = {name: _moved(array, rounding, each.name(name)) for name, array in arrays.items()}
        inputs = [moved.get(name) for name in _INPUTS[each.node.op_type]]
        results = dict(
            zip(_OUTPUTS[each.node.op_type], evaluate(each.node.op_type, inputs, **each.attributes), strict=True)
        )
        outputs |= {each.name(name): results[name] for name in each.outputs}
        y = results["Y"] if each.node.layout else results["Y"].transpose(0, 2, 1, 3)
        previous = y.reshape(*y.shape[:2], -1)
    return outputs


def numbers(seed: int, name: str, shape: tuple[int, ...], fan_in: int = 0) -> NDArray[np.float32]:
    """Between -2 and 2; smaller ones for weights, whose gates would be shut otherwise."""
    most = {0: 200, 1: 100, 2: 100, 3: 100}.get(fan_in, 50)
    return (_random(seed, name).integers(-most, most + 1, shape) / 100).astype(np.float32)


def _random(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _moved(array: NDArray[Any], rounding: float, name: str) -> NDArray[Any]:
    if not rounding or array.dtype.kind != "f":
        return array
    return array * (1 + rounding * _random(0, name).choice([-1.0, 1.0], array.shape))


def _sizes(example: Example) -> tuple[int | str, int | str]:
    """Batch and time as the graph declares them."""
    batch = "batch" if example.shapes in ("dynamic", "dynamic batch") else example.batch
    time = "time" if example.shapes in ("dynamic", "dynamic time") else example.time
    return batch, time


def _leading(example: Example, time: Any, batch: Any) -> tuple[Any, Any]:
    """The first two dimensions of X, which has the layout of the first node."""
    return (batch, time) if example.nodes[0].layout else (time, batch)


def _value(name: str, shape: Iterable[int | str]) -> onnx.ValueInfoProto:
    kind = TensorProto.INT32 if name.startswith("sequence_lens") else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, list(shape))


def _nodes(placed: Placed, all_placed: list[Placed]) -> Iterator[onnx.NodeProto]:
    """What brings the node's input into its layout, and the node."""
    x = "X"
    source_layout = placed.example.nodes[0].layout
    if placed.node.input == "previous":
        source = all_placed[placed.number - 1]
        source_layout = source.node.layout
        y = source.name("Y")
        if not source_layout:
            yield helper.make_node("Transpose", [y], [f"{y}_by_step"], perm=[0, 2, 1, 3])
            y = f"{y}_by_step"
        x = placed.name("X_")
        yield helper.make_node("Reshape", [y, "side_by_side"], [x])
    if source_layout != placed.node.layout:
        yield helper.make_node("Transpose", [x], [placed.name("X_swapped")], perm=[1, 0, 2])
        x = placed.name("X_swapped")
    names = {name: x if name == "X" else placed.name(name) for name in placed.inputs}
    inputs = [names.get(name, "") for name in _INPUTS[placed.node.op_type]]
    is_read = placed.number + 1 < len(all_placed) and all_placed[placed.number + 1].node.input == "previous"
    wanted = {*placed.outputs, *(["Y"] if is_read else [])}
    outputs = [placed.name(name) if name in wanted else "" for name in _OUTPUTS[placed.node.op_type]]
    yield helper.make_node(
        placed.node.op_type, _without_tail(inputs), _without_tail(outputs), placed.name("node"), **placed.attributes
    )


def _without_tail(names: list[str]) -> list[str]:
    """Trailing inputs and outputs that are absent are left out."""
    while not names[-1]:
        names = names[:-1]
    return names
