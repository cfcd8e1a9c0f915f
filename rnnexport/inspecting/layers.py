"""Recurrent operators of a graph; those in the bodies of `If`, `Loop` and `Scan` count like those outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import node_name, optional_input
from rnnexport.onnx_files.operators import (
    GATES,
    INITIAL_H,
    LAYOUT,
    QUANTIZED_LSTM,
    RECURRENT,
    SEQUENCE_LENS,
    STACK,
    R,
    W,
)
from rnnexport.onnx_files.zeros import is_zero


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One LSTM, GRU or RNN node, ONNX Runtime's LSTM with weights of 8 bits, or a RecurrentStack."""

    name: str
    cell: str
    """`LSTM`, `GRU` (reset after the product, as PyTorch has it), `GRU, reset before` or `RNN`."""
    weights: str
    """What they are stored as, in ONNX's words: `float`; `int8` where they are dequantized or multiplied so."""
    direction: str
    input_size: int | None
    hidden_size: int | None
    lengths: str | None
    """Where `sequence_lens` comes from; `None` where every row is as long as the batch."""
    initial_state: str
    """`zeros`, `constant`, `input NAME` or `computed`."""
    multiply_adds_per_step: int
    """Of one row, without activations; 0 where the weights' shapes are not known."""
    layers: int = 1
    """How many of them, one above the other, the node computes."""

    @property
    def operator(self) -> str:
        """ONNX's operator for such a cell."""
        return self.cell.partition(",")[0]


def data_inputs(model: ir.Model) -> list[ir.Value]:
    """Graph inputs without those that only give an initializer a name, as old files have them."""
    return [value for value in model.graph.inputs if value.const_value is None]


def recurrent_nodes(model: ir.Model) -> list[ir.Node]:
    """All nodes of ONNX's recurrent operators, those of sub-graphs too."""
    return [node for node in model.graph.all_nodes() if node.op_type in RECURRENT]


def layer_nodes(model: ir.Model) -> list[ir.Node]:
    """All nodes that are recurrent layers: ONNX's operators, DynamicQuantizeLSTM and RecurrentStack."""
    return [node for node in model.graph.all_nodes() if node.op_type in (*RECURRENT, QUANTIZED_LSTM, STACK)]


def summarise(node: ir.Node) -> LayerSummary:
    """Read a recurrent layer off its node; those of a RecurrentStack count as one."""
    if node.op_type == STACK:
        return _summarise_stack(node)
    weights, recurrence = _shape(node, W), _shape(node, R)
    inputs, units = (1, 1) if node.op_type == QUANTIZED_LSTM else (2, 2)  # [D, I, 4H] there, [D, G·H, I] in ONNX
    hidden_size = node.attributes.get_int("hidden_size", 0) or (recurrence[units] if recurrence else None)
    cell = "LSTM" if node.op_type == QUANTIZED_LSTM else node.op_type
    if cell == "GRU" and not node.attributes.get_int("linear_before_reset", 0):
        cell = "GRU, reset before"
    lengths = optional_input(node, SEQUENCE_LENS)
    products = sum(int(np.prod(shape)) for shape in (weights, recurrence) if shape)
    return LayerSummary(
        name=node_name(node),
        cell=cell,
        weights=_stored_as(optional_input(node, R)),
        direction=node.attributes.get_string("direction", "forward") or "forward",
        input_size=weights[inputs] if weights else None,
        hidden_size=hidden_size,
        lengths=None if lengths is None else _origin(lengths),
        initial_state=_initial_state(optional_input(node, INITIAL_H)),
        multiply_adds_per_step=products,
    )


_STACK_CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
_STACK_WEIGHTS = {32: "float", 16: "int16", 8: "int8", 4: "int4"}
_STACK_LENGTHS, _STACK_INITIAL_H = 4, 5


def _summarise_stack(node: ir.Node) -> LayerSummary:
    """All layers of a stack; source: kernels/README.md."""
    attributes = node.attributes
    name, layers = attributes.get_string("cell", ""), attributes.get_int("num_layers", 1)
    cell = _STACK_CELLS.get(name, name)
    if cell == "GRU" and not attributes.get_int("linear_before_reset", 0):
        cell = "GRU, reset before"
    direction = attributes.get_string("direction", "forward")
    inputs, units = attributes.get_int("input_size", 0), attributes.get_int("hidden_size", 0)
    directions = 2 if direction == "bidirectional" else 1
    rows = len(GATES.get(_STACK_CELLS.get(name, ""), "")) * units * directions
    columns = inputs + units + (layers - 1) * (directions + 1) * units
    bits = sorted(set(attributes.get_ints("weight_bits", ())))
    lengths = optional_input(node, _STACK_LENGTHS)
    return LayerSummary(
        name=node_name(node),
        cell=cell,
        weights=", ".join(_STACK_WEIGHTS.get(each, "?") for each in bits),
        direction=direction,
        input_size=inputs,
        hidden_size=units,
        lengths=None if lengths is None else _origin(lengths),
        initial_state=_initial_state(optional_input(node, _STACK_INITIAL_H)),
        multiply_adds_per_step=rows * columns,
        layers=layers,
    )


def call_dimensions(node: ir.Node) -> tuple[int | ir.SymbolicDim, int | ir.SymbolicDim] | None:
    """Batch and time steps of a recurrent node's X, as the graph has them; `None` where X has no shape."""
    x = node.inputs[0]
    if x is None or x.shape is None or len(x.shape) != 3:
        return None
    first, second, _ = x.shape
    return (first, second) if node.attributes.get_int("layout", 0) else (second, first)


def _shape(node: ir.Node, index: int) -> tuple[int, ...]:
    value = optional_input(node, index)
    if value is None or value.shape is None or not all(isinstance(size, int) for size in value.shape):
        return ()
    return tuple(int(size) for size in value.shape if isinstance(size, int))


def _stored_as(value: ir.Value | None) -> str:
    maker = value.producer() if value is not None else None
    while maker is not None and maker.op_type in ("DequantizeLinear", *LAYOUT) and maker.inputs[0] is not None:
        value = maker.inputs[0]
        maker = value.producer()
    return value.dtype.name.lower() if value is not None and value.dtype is not None else "?"


def _initial_state(value: ir.Value | None) -> str:
    return "zeros" if is_zero(value) else _origin(value) if value is not None else "zeros"


def _origin(value: ir.Value) -> str:
    """`input NAME` through changes of layout, `constant`, or `computed`."""
    seen: ir.Value | None = value
    while seen is not None and seen.producer() is not None:
        if ir.convenience.get_const_tensor(seen) is not None:
            return "constant"
        node = seen.producer()
        seen = node.inputs[0] if node is not None and node.op_type in LAYOUT and node.inputs else None
    if seen is None:
        return "computed"
    return "constant" if seen.const_value is not None else f"input {seen.name}"
