"""LSTM, GRU and RNN nodes as `rnnexport::RecurrentStack`, the operator of the package rnnexport-kernels.

1. Consecutive layers of one cell, hidden size, direction and lengths become one node, where nothing else reads what the
   lower layer gives at each step.
2. Lengths that stand in a padding mask become the node's `sequence_lens`. Where nothing but steps that count is read, Y
   on padded steps does not matter; the mask's writer sees to that (`lengths.py`, rules 4 and 5).
3. Weights are rounded here and stored in few bits. Every gate has its own number of them.
4. Names of graph inputs and outputs stay. A node of other activations, with peepholes or with computed weights stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from rnnexport.onnx_files.nodes import (
    constant_input,
    node_name,
    optional_input,
    required_input,
    uncast,
    used_output,
)
from rnnexport.onnx_files.operators import GATES, RECURRENT, STACK, STACK_DOMAIN, STATES, B, R, Y
from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.onnx_files.zeros import is_zero
from rnnexport.passes.lowering import CalibrationStatistics
from rnnexport.passes.quantizing.stack_weights import Bits, stored_rows
from rnnexport.passes.recognising.joined_directions import joins_directions
from rnnexport.passes.recognising.masked_layers import UnmaskedInput, unmasked_input
from rnnexport.passes.recognising.recurrent import why_not_usual

VERSION = 1
"""Of the operator's domain."""
LARGEST_ROW = 8192
"""Columns of a row with 8 or 4 bits."""
_CELLS = {"LSTM": (["sigmoid", "tanh", "tanh"], "lstm"), "GRU": (["sigmoid", "tanh"], "gru")}
_RNN_CELLS = {"tanh": "rnn_tanh", "relu": "rnn_relu"}
_CANDIDATE = {"LSTM": "c", "GRU": "h", "RNN": "i"}


@dataclass(frozen=True)
class StackChoices:
    """How the weights are stored."""

    bits: Bits = 32
    activation_bits: Literal[8, 12] = 12
    """To which activations are rounded that meet weights of 8 or 4 bits."""
    block_size: int = 32
    keep_float32: Collection[str] = ()
    """Names of nodes whose weights stay float32."""
    float32_candidates: Collection[str] = ()
    """Names of nodes whose candidate gate stays float32."""
    statistics: Mapping[str, CalibrationStatistics] = field(default_factory=dict)
    """By the node's name."""

    def of_gates(self, node: ir.Node) -> list[Bits]:
        """The bits of each gate of a node, in ONNX's order."""
        name = node_name(node)
        candidate = _CANDIDATE[node.op_type] if name in self.float32_candidates else ""
        kept = name in self.keep_float32
        return [32 if kept or gate == candidate else self.bits for gate in GATES[node.op_type]]


def why_not_stackable(node: ir.Node, bits: Bits = 32) -> str | None:
    """Return why a node cannot become a RecurrentStack, or `None` if it can."""
    if _cell(node) is None:
        return f"its activations are {', '.join(node.attributes.get_strings('activations') or ())}"
    if reason := why_not_usual(node):
        return reason
    read = unmasked_input(node)
    if read is None:
        return "some columns of W are too large to share a scale with the others"
    if bits < 16 and max(read.w.shape[2], constant_input(node, R).shape[2]) > LARGEST_ROW:
        return f"its rows have more than {LARGEST_ROW} columns"
    return None


class RecurrentStack(ir.passes.InPlacePass):
    """Rewrite recurrent nodes; see the rules of this module. A second run changes nothing."""

    def __init__(self, choices: StackChoices) -> None:
        """Take how the weights are stored."""
        super().__init__()
        self._choices = choices

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place, sub-graphs included."""
        modified = False
        for graph in list(model.graphs()):
            writer = GraphWriter(model, graph)
            for stack in _stacks(graph, self._choices):
                _StackWriter(writer, stack, self._choices).write()
                modified = True
        if modified:
            model.opset_imports[STACK_DOMAIN] = VERSION
            model.metadata_props[f"{STACK_DOMAIN}.kernels"] = f">={VERSION}"
            RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified)


@dataclass(frozen=True)
class _StackLayer:
    """A recurrent node, and what it reads."""

    node: ir.Node
    read: UnmaskedInput
    kind: tuple[object, ...]
    """What all layers of one stack have in common."""


def _stacks(graph: ir.Graph, choices: StackChoices) -> list[list[_StackLayer]]:
    """The nodes to rewrite, each chain of layers in order."""
    stacks: list[list[_StackLayer]] = []
    for node in graph:
        if node.domain != "" or node.op_type not in RECURRENT or why_not_stackable(node, choices.bits):
            continue
        read = unmasked_input(node)
        assert read is not None
        layer = _StackLayer(node, read, _kind(node, read))
        below = next((stack for stack in stacks if _continues(stack[-1], layer)), None)
        if below is None:
            stacks.append([layer])
        else:
            below.append(layer)
    return stacks


def _kind(node: ir.Node, read: UnmaskedInput) -> tuple[object, ...]:
    lengths = uncast(read.lengths)
    states = tuple(is_zero(optional_input(node, position)) for position, _, _ in STATES[node.op_type])
    attributes = node.attributes
    form = attributes.get_int("linear_before_reset", 0)
    hidden_size = constant_input(node, R).shape[2]
    return _cell(node), attributes.get_string("direction", "forward"), hidden_size, form, lengths, states


def _continues(below: _StackLayer, above: _StackLayer) -> bool:
    """Whether `above` reads what `below` gives, and nothing else does."""
    if below.kind != above.kind:
        return False
    value = below.node.outputs[Y]
    while value is not above.read.x:
        users = {user for user, _ in value.uses()}
        if value.is_graph_output() or len(users) != 1:
            return False
        (user,) = users
        if not joins_directions(user):
            return False
        value = user.outputs[0]
    readers = {user for user, _ in value.uses()}
    return not value.is_graph_output() and _only_feeds(readers, above.node)


def _only_feeds(readers: Collection[ir.Node], node: ir.Node) -> bool:
    """Whether what reads a layer's X is the layer, or the mask in front of it."""
    for reader in readers:
        if reader is node:
            continue
        users = {user for output in reader.outputs for user, _ in output.uses()}
        exposed = any(output.is_graph_output() for output in reader.outputs)
        if reader.op_type not in ("Where", "Concat") or exposed or not _only_feeds(users, node):
            return False
    return True


class _StackWriter:
    """Writes one stack before the last of its nodes."""

    def __init__(self, writer: GraphWriter, layers: list[_StackLayer], choices: StackChoices) -> None:
        self._writer, self._layers, self._choices = writer, layers, choices
        self._first, self._last = layers[0], layers[-1]
        self._name = node_name(self._first.node)
        self._op_type = self._first.node.op_type
        self._directions = self._first.read.w.shape[0]
        self._hidden_size = constant_input(self._first.node, R).shape[2]

    def write(self) -> None:
        """Put the stack in place of its nodes."""
        writer, states = self._writer, STATES[self._op_type]
        writer.before = self._last.node
        bits = [gate for layer in self._layers for gate in self._choices.of_gates(layer.node)]
        content, scales = self._weights()
        given = [self._initial_state(position, letter) for position, _, letter in states]
        x, transposed = self._batch_first() or (self._first.read.x, [])
        inputs: list[ir.Value | None] = [
            x,
            writer.constant(content, f"{self._name}.stack_weights"),
            writer.constant(scales, f"{self._name}.stack_scales") if len(scales) else None,
            writer.constant(np.concatenate([self._biases(layer) for layer in self._layers]), f"{self._name}.stack_B"),
            self._lengths(),
            *given,
        ]
        attributes = {
            "cell": _cell(self._first.node) or "",
            "direction": self._first.node.attributes.get_string("direction", "forward") or "forward",
            "linear_before_reset": self._first.node.attributes.get_int("linear_before_reset", 0),
            "num_layers": len(self._layers),
            "input_size": int(self._first.read.w.shape[2]),
            "hidden_size": self._hidden_size,
            "weight_bits": bits,
            "block_size": self._choices.block_size,
            "activation_bits": self._choices.activation_bits,
            "version": VERSION,
        }
        if transposed:
            attributes["layout"] = 1
        names = [f"{self._name}.stack_{name}" for name in ("Y", "Y_h", "Y_c")[: 1 + len(states)]]
        while inputs[-1] is None:
            inputs.pop()
        y, *final = writer.node(
            f"{STACK_DOMAIN}::{STACK}", inputs, names, ir.convenience.convert_attributes(attributes)
        )
        self._describe(x, y, final, ("batch", "time") if transposed else ("time", "batch"))
        for number, (_, position, letter) in enumerate(states):
            self._replace_states(final[number], position, letter)
        for output in transposed:
            self._replace(output, y)
        if not transposed:
            self._replace_y(y)

    def _weights(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        content, scales = [], []
        for layer in self._layers:
            bits, statistics = self._choices.of_gates(layer.node), self._choices.statistics.get(node_name(layer.node))
            recurrence = constant_input(layer.node, R)
            for direction in range(self._directions):
                parts = (
                    (layer.read.w[direction], _without_column(statistics.x, layer.read.w) if statistics else None),
                    (recurrence[direction], statistics.h[direction] if statistics else None),
                )
                for matrix, moments in parts:
                    for gate, rows in zip(bits, np.split(matrix, len(bits)), strict=True):
                        stored = stored_rows(rows, gate, self._choices.block_size, moments)
                        content.append(stored.content)
                        scales.append(stored.scales)
        return np.concatenate(content), np.concatenate(scales)

    def _biases(self, layer: _StackLayer) -> NDArray[np.float32]:
        """[D, 2·G·H], zero where the node has none."""
        if optional_input(layer.node, B) is not None:
            return constant_input(layer.node, B)
        return np.zeros((self._directions, 2 * layer.read.w.shape[1]), np.float32)

    def _lengths(self) -> ir.Value | None:
        """The lengths [B], int32."""
        lengths = self._first.read.lengths
        if lengths is None:
            return None
        row = self._writer.constant(np.array([-1]), f"{self._name}.stack_row")
        flat = self._writer.op("Reshape", [lengths, row], f"{self._name}.stack_lengths")
        if lengths.dtype == ir.DataType.INT32:
            return flat
        return self._writer.op("Cast", [flat], f"{self._name}.stack_lengths_int32", to=ir.DataType.INT32)

    def _initial_state(self, position: int, letter: str) -> ir.Value | None:
        """[L·D, B, H]; the layers' states one after another."""
        values = [optional_input(layer.node, position) for layer in self._layers]
        if is_zero(values[0]):  # then all are, since they are of one kind
            return None
        return (
            values[0]
            if len(values) == 1
            else self._writer.op("Concat", values, f"{self._name}.stack_{letter}_0", axis=0)
        )

    def _batch_first(self) -> tuple[ir.Value, list[ir.Value]] | None:
        """X [B, T, I] and all that reads Y, as [B, T, H], where one direction's layers stand between two Transposes."""
        node, y = self._first.read.x.producer(), used_output(self._last.node, Y)
        if self._directions > 1 or node is None or not _swaps_batch_and_time(node) or y is None:
            return None
        joined = _joined(y, self._directions)
        readers = [user for value in joined for user, _ in value.uses()]
        exposed = any(value.is_graph_output() for value in (y, *joined))
        if exposed or len(joined) != len(y.uses()) or not all(map(_swaps_batch_and_time, readers)):
            return None
        outputs = [reader.outputs[0] for reader in readers]
        return (required_input(node, 0), outputs) if outputs else None

    def _describe(self, x: ir.Value, y: ir.Value, final: list[ir.Value], axes: tuple[str, str]) -> None:
        """Say the shapes, of which X and Y begin with `axes`: shape inference does not know the operator."""
        sizes: dict[str, int | ir.SymbolicDim | str] = dict(
            zip(axes, x.shape[:2] if x.shape is not None and len(x.shape) == 3 else axes, strict=True)
        )
        batch, float32 = sizes["batch"], ir.TensorType(ir.DataType.FLOAT)
        y.shape, y.type = ir.Shape([*sizes.values(), self._directions * self._hidden_size]), float32
        for state in final:
            state.shape = ir.Shape([len(self._layers) * self._directions, batch, self._hidden_size])
            state.type = float32

    def _replace_states(self, final: ir.Value, position: int, letter: str) -> None:
        used = [used_output(layer.node, position) for layer in self._layers]
        if not any(used):
            return
        parts = [final]
        if len(used) > 1:
            names = [f"{self._name}.stack_{letter}_n_l{number}" for number in range(len(used))]
            parts = [*self._writer.split(final, [self._directions] * len(used), 0, names)]
        for old, new in zip(used, parts, strict=True):
            if old is not None:
                self._replace(old, new)

    def _replace_y(self, y: ir.Value) -> None:
        old = used_output(self._last.node, Y)
        if old is None:
            return
        for joined in _joined(old, self._directions):  # what is [T, B, D·H] already
            self._replace(joined, y)
        if not used_output(self._last.node, Y):
            return
        sizes = self._writer.constant(
            np.array([0, 0, self._directions, self._hidden_size]), f"{self._name}.stack_shape"
        )
        by_direction = self._writer.op("Reshape", [y, sizes], f"{self._name}.stack_Y_by_direction")
        self._replace(old, self._writer.op("Transpose", [by_direction], f"{self._name}.stack_Y_4", perm=[0, 2, 1, 3]))

    def _replace(self, old: ir.Value, new: ir.Value) -> None:
        if old.is_graph_output():  # which keeps its name; no value is two outputs of a graph
            if new.is_graph_output():
                new = self._writer.op("Identity", [new], f"{new.name}_out")
            new.shape, new.type = old.shape, old.type
            new.name, old.name = old.name, self._writer.fresh_name(f"{old.name}_before")
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def _joined(y: ir.Value, directions: int) -> list[ir.Value]:
    """Values [T, B, D·H] that are made of Y [T, D, B, H]."""
    found = []
    for user, _ in y.uses():
        if not joins_directions(user):
            continue
        if user.op_type == "Squeeze" and directions == 1:
            found.append(user.outputs[0])
        elif user.op_type == "Transpose":
            readers = [reader for reader, _ in user.outputs[0].uses() if reader.op_type == "Reshape"]
            found += [reader.outputs[0] for reader in readers if joins_directions(reader)]
    return found


def _swaps_batch_and_time(node: ir.Node) -> bool:
    """Whether [B, T, C] becomes [T, B, C], or the other way round."""
    return node.op_type == "Transpose" and list(node.attributes.get_ints("perm") or ()) == [1, 0, 2]


def _cell(node: ir.Node) -> str | None:
    """The operator's name for a node's cell; `None` where its activations are others."""
    names = [name.lower() for name in node.attributes.get_strings("activations") or ()]
    if node.op_type == "RNN":
        kinds = set(names) or {"tanh"}
        return _RNN_CELLS.get(min(kinds)) if len(kinds) == 1 else None
    default, cell = _CELLS[node.op_type]
    return cell if names in ([], default, default * 2) else None


def _without_column(moments: NDArray[np.float64], w: NDArray[np.float32]) -> NDArray[np.float64]:
    """Moments of X without the padding mask's column, which W no longer has."""
    return moments[: w.shape[2], : w.shape[2]]
