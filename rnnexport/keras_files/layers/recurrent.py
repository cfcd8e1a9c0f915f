"""LSTM, GRU and SimpleRNN, as layers and as cells of an RNN, and both directions of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from rnnexport.keras_files.activations import Activation
from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers.layer import KerasLayer, Shape
from rnnexport.keras_files.weights import Array, Weight

Kind = Literal["LSTM", "GRU", "RNN"]
_GATES: dict[Kind, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}
_KINDS: dict[str, Kind] = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}
_CUDNN_KINDS: dict[str, Kind] = {"CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
_OF_TRAINING = ("dropout", "recurrent_dropout", "implementation", "unit_forget_bias")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell; gates stand in Keras's order: LSTM i, f, c, o and GRU z, r, h."""

    kind: Kind
    units: int
    activation: Activation
    recurrent_activation: Activation
    """Of the gates; a SimpleRNN has none, and `linear` here."""
    kernel: Weight
    """[input_size, G·units]"""
    recurrent_kernel: Weight
    """[units, G·units]"""
    bias: Weight | None
    """[G·units]; of a GRU with `reset_after` [2, G·units]: that of the input, and the recurrent one."""
    reset_after: bool = False

    @classmethod
    def read(cls, options: LayerOptions, kind: Kind, input_size: int | str) -> Self:
        """Read the options that a layer and its cell have in common."""
        units, gates = options.whole("units"), _GATES[kind]
        reset_after = kind == "GRU" and options.flag("reset_after", False)
        activation = options.activation("activation", "tanh")
        gate = options.activation("recurrent_activation", "sigmoid") if kind != "RNN" else Activation("linear")
        use_bias = options.flag("use_bias", True)
        options.ignore(*_OF_TRAINING)
        kernel = options.weight("kernel", (input_size, gates * units))
        recurrent_kernel = options.weight("recurrent_kernel", (units, gates * units))
        size = (2, gates * units) if reset_after else (gates * units,)
        bias = options.weight("bias", size) if use_bias else None
        return cls(kind, units, activation, gate, kernel, recurrent_kernel, bias, reset_after)

    @classmethod
    def read_cudnn(cls, options: LayerOptions, kind: Kind, input_size: int | str) -> Self:
        """Read a CuDNNLSTM or CuDNNGRU layer of Keras 2, whose weights lie as cuDNN has them.

        A gate's kernel [I, H] holds the numbers of its transpose [H, I] row by row, and there are two biases.
        """
        units, gates = options.whole("units"), _GATES[kind]
        options.ignore(*_OF_TRAINING)

        def kernel(array: Array) -> Array:
            turned = [gate.reshape(gate.shape[::-1]).T for gate in np.split(array, gates, axis=1)]
            return np.concatenate(turned, axis=1)

        def bias(array: Array) -> Array:
            both = array.reshape(2, -1)
            return both if kind == "GRU" else both.sum(axis=0)

        weights = (
            options.weight("kernel", (input_size, gates * units), arrange=kernel),
            options.weight("recurrent_kernel", (units, gates * units), arrange=kernel),
            options.weight("bias", (2 * gates * units,), arrange=bias),
        )
        return cls(kind, units, Activation("tanh"), Activation("sigmoid"), *weights, kind == "GRU")

    @property
    def states(self) -> int:
        """How many states it has."""
        return 2 if self.kind == "LSTM" else 1


@dataclass(frozen=True, slots=True)
class Recurrent(KerasLayer):
    """One direction over time of one cell, or of several, each of which reads the one before."""

    takes_mask = True

    cells: tuple[Cell, ...]
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    zero_output_for_mask: bool
    stateful: bool
    time_major: bool = False
    """Whether its input and its sequence are [time, batch, features]; an option of Keras 2."""

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a LSTM, GRU, SimpleRNN or RNN layer."""
        flags = [
            options.flag(key, False)
            for key in (
                "return_sequences",
                "return_state",
                "go_backwards",
                "zero_output_for_mask",
                "stateful",
                "time_major",
            )
        ]
        options.ignore("unroll", "input_dim", "input_length")
        if len(inputs[0]) != 3:
            options.refuse(f"its input has {len(inputs[0])} dimensions, not 3 (batch, time, features)")
        if options.class_name == "RNN":
            cells = _read_cells(options.inner_of("cell", ("cell",)), inputs[0][2])
        elif options.class_name in _KINDS:
            cells = (Cell.read(options.with_weights_at("cell"), _KINDS[options.class_name], inputs[0][2]),)
        elif options.class_name in _CUDNN_KINDS:
            cells = (Cell.read_cudnn(options, _CUDNN_KINDS[options.class_name], inputs[0][2]),)
        else:
            options.refuse("it is not a recurrent layer that can be exported; LSTM, GRU, SimpleRNN and RNN are")
        return cls(cells, *flags)

    @property
    def states(self) -> int:
        """How many states all cells have."""
        return sum(cell.states for cell in self.cells)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """The output, then the states of the cells in their order."""
        batch = inputs[0][1 if self.time_major else 0]
        units = self.cells[-1].units
        output: Shape = (*inputs[0][:2], units) if self.return_sequences else (batch, units)
        states: list[Shape] = [(batch, cell.units) for cell in self.cells for _ in range(cell.states)]
        return [output, *(states if self.return_state else [])]


def _read_cells(options: LayerOptions, input_size: int | str) -> tuple[Cell, ...]:
    """A cell, or cells one upon another."""
    kinds = {f"{name}Cell": kind for name, kind in _KINDS.items()}
    if options.class_name in kinds:
        cell = Cell.read(options, kinds[options.class_name], input_size)
        options.finish()
        return (cell,)
    if options.class_name != "StackedRNNCells":
        options.refuse("it is not a cell that can be exported; LSTMCell, GRUCell and SimpleRNNCell are")
    options.choice("reverse_state_order", (False,), False)
    cells: list[Cell] = []
    counts: dict[str, int] = {}
    for found in options.value("cells"):
        class_name = str(found.get("class_name"))
        place = snake_case(class_name)
        number = counts[place] = counts.get(place, -1) + 1
        path = ("cells", f"{place}_{number}" if number else place)
        cells += _read_cells(options.inner(class_name, found.get("config", {}), path), input_size)
        input_size = cells[-1].units
    options.finish()
    if not cells:
        options.refuse("it has no cells")
    return tuple(cells)


@dataclass(frozen=True, slots=True)
class Bidirectional(KerasLayer):
    """Two recurrent layers over one input, the second from the end."""

    takes_mask = True

    forward: Recurrent
    backward: Recurrent
    merge_mode: Literal["concat", "sum", "mul", "ave"] | None

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read both layers; where the file has one, the other is like it and runs the other way."""
        merge_mode = options.choice("merge_mode", ("concat", "sum", "mul", "ave", None), "concat")
        options.ignore("weights")
        wrapped = options.value("layer")
        backward = options.value("backward_layer", None)
        if backward is None:
            turned = {**wrapped["config"], "go_backwards": not wrapped["config"].get("go_backwards", False)}
            backward = {**wrapped, "config": turned}
        layers = []
        for found, path in ((wrapped, "forward_layer"), (backward, "backward_layer")):
            inner = options.inner(str(found.get("class_name")), found.get("config", {}), (path,))
            layer = Recurrent.read(inner, inputs)
            inner.finish()
            # Keras does so whatever the layers' own option says.
            layers.append(replace(layer, zero_output_for_mask=layer.return_sequences))
        first, second = layers
        if first.go_backwards == second.go_backwards:
            options.refuse("both of its layers run in one direction")
        if (first.return_sequences, first.return_state) != (second.return_sequences, second.return_state):
            options.refuse("its two layers return different things")
        if first.time_major != second.time_major:
            options.refuse("its two layers read the axes of their input differently")
        return cls(first, second, merge_mode)

    @property
    def states(self) -> int:
        """How many states both have."""
        return self.forward.states + self.backward.states

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """The merged output, or both, then the states of the first and the second."""
        first, second = (layer.output_shapes(inputs) for layer in (self.forward, self.backward))
        states = [*first[1:], *second[1:]]
        if self.merge_mode is None:
            return [first[0], second[0], *states]
        units = self.forward.cells[-1].units + (self.backward.cells[-1].units if self.merge_mode == "concat" else 0)
        return [(*first[0][:-1], units), *states]


def snake_case(class_name: str) -> str:
    """Keras's name for a class in places and names: `LSTMCell` → `lstm_cell`."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
