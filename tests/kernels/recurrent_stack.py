"""`rnnexport::RecurrentStack` by its description in kernels/README.md: weights to the file's bytes, nodes, and what a
node computes, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tests.graphs import value

GATES_OF = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
Array = NDArray[Any]


def quantize(matrix: Array, bits: int, block_size: int = 32) -> tuple[Array, Array]:
    """[rows, columns] float32 → integers [rows, columns], scales [rows] (16 and 8 bits) or [rows, blocks] (4 bits)."""
    if bits == 32:
        return matrix, np.zeros(0, np.float32)
    rows, columns = matrix.shape
    width = block_size if bits == 4 else columns
    blocks = -(-columns // width)
    padded = np.zeros((rows, blocks * width), np.float32)
    padded[:, :columns] = matrix
    largest = np.abs(padded.reshape(rows, blocks, width)).max(-1)
    scales = (largest / (2 ** (bits - 1) - 1)).astype(np.float32)
    divisors = np.where(scales == 0, 1, scales).repeat(width, -1)[:, :columns]
    integers = np.rint(matrix / divisors).astype({16: np.int16}.get(bits, np.int8))
    return integers, scales if bits == 4 else scales[:, 0]


def pack(integers: Array, bits: int) -> NDArray[np.uint8]:
    """The bytes of the rows."""
    if bits != 4:
        return np.ascontiguousarray(integers).view(np.uint8).ravel()
    rows, columns = integers.shape
    halves = np.zeros((rows, columns + columns % 2), np.uint8)
    halves[:, :columns] = integers.astype(np.int8).view(np.uint8) & 15
    return (halves[:, 0::2] | halves[:, 1::2] << 4).ravel()


def meant(integers: Array, scales: Array, bits: int, block_size: int) -> Array:
    """The weights that integers and scales stand for, in float64."""
    if bits == 32:
        return integers.astype(np.float64)
    wide = scales.astype(np.float64)
    if bits == 4:
        return integers * wide.repeat(block_size, -1)[:, : integers.shape[1]]
    return integers * wide[:, None]


def round_activations(vector: Array, bits: int) -> Array:
    """What 8- and 4-bit weights meet in place of the vector."""
    narrow = vector.astype(np.float32)
    largest, levels = np.abs(narrow).max(), np.float32(2 ** (bits - 1) - 1)
    if largest < 2.0**-100:
        return np.zeros_like(vector)
    return np.rint(narrow * (levels / largest)).astype(np.float64) * np.float64(largest / levels)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True)
class DrawnStack:
    """A stack with random weights. `weight_bits`: one value, or one for each layer and gate."""

    cell: str = "lstm"
    direction: str = "forward"
    linear_before_reset: int = 0
    num_layers: int = 1
    input_size: int = 5
    hidden_size: int = 6
    layout: int = 0
    weight_bits: int | tuple[int, ...] = 32
    block_size: int = 32
    activation_bits: int = 12
    bias: bool = True
    seed: int = 0

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 1 + (self.direction == "bidirectional")

    @property
    def gates(self) -> int:
        """Gates of the cell."""
        return GATES_OF[self.cell]

    @property
    def bits(self) -> list[list[int]]:
        """By layer and gate."""
        bits = self.weight_bits
        flat = [bits] * (self.num_layers * self.gates) if isinstance(bits, int) else bits
        return np.reshape(flat, (self.num_layers, self.gates)).tolist()

    @cached_property
    def matrices(self) -> list[list[tuple[Array, Array]]]:
        """W and R in float32, by layer and direction."""
        generator, rows = np.random.default_rng(self.seed), self.gates * self.hidden_size
        bound = self.hidden_size**-0.5

        def draw(columns: int) -> Array:
            return generator.uniform(-bound, bound, (rows, columns)).astype(np.float32)

        return [
            [
                (draw(self.directions * self.hidden_size if layer else self.input_size), draw(self.hidden_size))
                for _ in range(self.directions)
            ]
            for layer in range(self.num_layers)
        ]

    @cached_property
    def biases(self) -> Array:
        """[layers · directions, 2 · gates · hidden]."""
        shape = (self.num_layers * self.directions, 2 * self.gates * self.hidden_size)
        drawn = np.random.default_rng(self.seed + 1).uniform(-0.3, 0.3, shape).astype(np.float32)
        return drawn if self.bias else np.zeros_like(drawn)

    @cached_property
    def _quantized(self) -> list[tuple[int, Array, Array]]:
        """Bits, integers and scales, in the order of the file."""
        return [
            (bits, *quantize(rows, bits, self.block_size))
            for layer, of_layer in enumerate(self.matrices)
            for of_direction in of_layer
            for matrix in of_direction
            for bits, rows in zip(self.bits[layer], np.split(matrix, self.gates), strict=True)
        ]

    @property
    def weights(self) -> NDArray[np.uint8]:
        """The input `weights`."""
        return np.concatenate([pack(integers, bits) for bits, integers, _ in self._quantized])

    @property
    def scales(self) -> NDArray[np.float32]:
        """The input `scales`."""
        return np.concatenate([scales.ravel() for _, _, scales in self._quantized])

    def attributes(self) -> dict[str, Any]:
        """The node's attributes."""
        names = ("cell", "direction", "linear_before_reset", "num_layers", "input_size", "hidden_size", "layout")
        attributes = {name: getattr(self, name) for name in (*names, "block_size", "activation_bits")}
        return attributes | {"weight_bits": np.ravel(self.bits).tolist()}

    def model(
        self, *, lengths: bool = False, states: bool = False, shapes: Sequence[str | int] | None = None
    ) -> onnx.ModelProto:
        """A graph of one node."""
        first = ["batch", "time"] if self.layout else ["time", "batch"]
        state: list[int | str] = [self.num_layers * self.directions, "batch", self.hidden_size]
        inputs = [value("X", shapes or [*first, self.input_size])]
        names = ["X", "weights", "scales" if len(self.scales) else "", "B" if self.bias else "", "", "", ""]
        if lengths:
            inputs.append(value("sequence_lens", ["batch"], np.int32))
            names[4] = "sequence_lens"
        outputs: dict[str, list[int | str]] = {"Y": [*first, self.directions * self.hidden_size], "Y_h": state}
        if self.cell == "lstm":
            outputs["Y_c"] = state
        if states:
            for place, name in ((5, "initial_h"), (6, "initial_c"))[: len(outputs) - 1]:
                inputs.append(value(name, state))
                names[place] = name
        while not names[-1]:
            names.pop()
        arrays: dict[str, Array] = {"weights": self.weights, "scales": self.scales, "B": self.biases}
        constants = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in names]
        node = helper.make_node(
            "RecurrentStack", names, list(outputs), "stack", domain="rnnexport", **self.attributes()
        )
        graph = helper.make_graph(
            [node], "stack", inputs, [value(name, shape) for name, shape in outputs.items()], constants
        )
        versions = [helper.make_opsetid("", 17), helper.make_opsetid("rnnexport", 1)]
        return helper.make_model(graph, opset_imports=versions, ir_version=10)

    def feeds(
        self, batch: int, time: int, *, lengths: bool = False, states: bool = False, seed: int = 0
    ) -> dict[str, Array]:
        """Random inputs of the model."""
        generator = np.random.default_rng(seed + 7)
        first = (batch, time) if self.layout else (time, batch)
        feeds: dict[str, Array] = {"X": generator.normal(size=(*first, self.input_size)).astype(np.float32)}
        if lengths:
            feeds["sequence_lens"] = generator.integers(0, time + 1, batch).astype(np.int32)
        state = (self.num_layers * self.directions, batch, self.hidden_size)
        for name in ("initial_h", "initial_c")[: 1 + (self.cell == "lstm")] if states else ():
            feeds[name] = generator.uniform(-1, 1, state).astype(np.float32)
        return feeds

    def reference(self, feeds: dict[str, Array], *, rounded: bool = True) -> dict[str, Array]:
        """What the node computes, in float64, with the weights that are meant; activations rounded or not."""
        x = feeds["X"].astype(np.float64)
        x = np.swapaxes(x, 0, 1) if self.layout else x
        time, batch, _ = x.shape
        lengths = feeds.get("sequence_lens", np.full(batch, time))
        state = (self.num_layers * self.directions, batch, self.hidden_size)
        h = feeds.get("initial_h", np.zeros(state)).astype(np.float64)
        c = feeds.get("initial_c", np.zeros(state)).astype(np.float64)
        quantized = iter(self._quantized)
        for layer in range(self.num_layers):
            outputs = np.zeros((time, batch, self.directions, self.hidden_size))
            for direction in range(self.directions):
                w, r = ([next(quantized) for _ in range(self.gates)] for _ in range(2))
                row = layer * self.directions + direction
                bias = self.biases[row].astype(np.float64).reshape(2, self.gates, self.hidden_size)
                backwards = direction == 1 or self.direction == "reverse"
                for b in range(batch):
                    steps = range(lengths[b])
                    for t in reversed(steps) if backwards else steps:
                        h[row, b], c[row, b] = self._step(w, r, bias, x[t, b], h[row, b], c[row, b], rounded)
                        outputs[t, b, direction] = h[row, b]
            x = outputs.reshape(time, batch, -1)
        results = {"Y": np.swapaxes(x, 0, 1) if self.layout else x, "Y_h": h}
        return results | ({"Y_c": c} if self.cell == "lstm" else {})

    def _step(self, w: Any, r: Any, bias: Array, x: Array, h: Array, c: Array, rounded: bool) -> tuple[Array, Array]:
        def product(gate: tuple[int, Array, Array], vector: Array) -> Array:
            bits = gate[0]
            if rounded and bits <= 8:
                vector = round_activations(vector, self.activation_bits)
            return meant(gate[1], gate[2], bits, self.block_size) @ vector

        def both(gate: int) -> Array:
            return product(w[gate], x) + bias[0, gate] + product(r[gate], h) + bias[1, gate]

        if self.cell == "lstm":
            c = _sigmoid(both(2)) * c + _sigmoid(both(0)) * np.tanh(both(3))
            return _sigmoid(both(1)) * np.tanh(c), c
        if self.cell == "rnn_tanh":
            return np.tanh(both(0)), c
        if self.cell == "rnn_relu":
            return np.maximum(both(0), 0), c
        update, reset = _sigmoid(both(0)), _sigmoid(both(1))
        own = product(w[2], x) + bias[0, 2]
        if self.linear_before_reset:
            candidate = np.tanh(own + reset * (product(r[2], h) + bias[1, 2]))
        else:
            candidate = np.tanh(own + product(r[2], reset * h) + bias[1, 2])
        return (1 - update) * candidate + update * h, c


def session(model: onnx.ModelProto, library: Path, threads: int = 1) -> Any:
    """An ONNX Runtime session that knows the operator."""
    import onnxruntime  # noqa: TID251 - the operator is held against ONNX Runtime itself

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, library: Path, feeds: dict[str, Array], threads: int = 1) -> dict[str, Array]:
    """All outputs of one call."""
    outputs = [output.name for output in model.graph.output]
    return dict(zip(outputs, session(model, library, threads).run(None, feeds), strict=True))
