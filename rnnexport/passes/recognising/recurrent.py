"""An LSTM or GRU node read as arrays, for passes that write it in another form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.nodes import node_name, optional_input, required_input, used_output
from rnnexport.onnx_files.operators import INITIAL_C, INITIAL_H, SEQUENCE_LENS, B, Cell, P, R, W, X

_DEFAULT_ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"]}
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Direction:
    """One direction's weights, gates in ONNX's order: i, o, f, c or z, r, h."""

    name: str
    """Of the node, and `.forward` or `.backward`."""
    backward: bool
    w: Array
    """[G·H, I]"""
    r: Array
    """[G·H, H]"""
    input_bias: Array
    """[G·H], what is added to X·Wᵀ: both biases, but not a `recurrent_bias`."""
    recurrent_bias: Array | None
    """[H], what a GRU's reset gate multiplies together with h·Rᵀ; `None` where nothing is."""


@dataclass(frozen=True)
class Layer:
    """One LSTM or GRU node."""

    node: ir.Node
    name: str
    cell: Cell
    reset_after: bool
    """For a GRU: `linear_before_reset`."""
    hidden_size: int
    directions: tuple[Direction, ...]
    x: ir.Value
    """[T, B, I]"""
    lengths: ir.Value | None
    initial_states: tuple[ir.Value | None, ...]
    """h and, for an LSTM, c: [D, B, H] each."""
    outputs: tuple[ir.Value | None, ...]
    """Y, Y_h and, for an LSTM, Y_c where they are used."""


def is_recurrent(node: ir.Node) -> bool:
    """Whether a node is an LSTM or GRU of ONNX."""
    return node.domain == "" and node.op_type in _DEFAULT_ACTIVATIONS


def time_steps(node: ir.Node) -> int | None:
    """The number of time steps that a node runs over, or `None` where it is dynamic."""
    x = node.inputs[X]
    steps = x.shape[0] if x is not None and x.shape is not None else None
    return steps if isinstance(steps, int) else None


def why_not_readable(node: ir.Node) -> str | None:
    """Return why a node is not one of the usual equations with constant weights, or `None` if it is."""
    default = _DEFAULT_ACTIVATIONS[node.op_type]
    activations = [name.lower() for name in node.attributes.get_strings("activations") or default]
    if activations != default * (len(activations) // len(default)):
        return f"its activations are {', '.join(activations)}"
    return why_not_usual(node)


def why_not_usual(node: ir.Node) -> str | None:
    """Return what a recurrent node has besides the usual equations and constant weights; its activations apart."""
    if "clip" in node.attributes:
        return "it clips what its gates take"
    if optional_input(node, P) is not None:
        return "it has peepholes"
    if node.attributes.get_int("input_forget", 0):
        return "its input and forget gates are coupled"
    if node.attributes.get_int("layout", 0):
        return "it is batch-major (layout=1)"
    tensors = [ir.convenience.get_const_tensor(value) for value in node.inputs[W : B + 1] if value is not None]
    if any(tensor is None for tensor in tensors):
        return "its weights are computed"
    if any(tensor.dtype != ir.DataType.FLOAT for tensor in tensors if tensor is not None):
        return "it does not compute in float32"
    return None


def read_layer(node: ir.Node) -> Layer:
    """Read a node for which `why_not_readable` is `None`."""
    cell: Cell = "LSTM" if node.op_type == "LSTM" else "GRU"
    reset_after = cell == "GRU" and node.attributes.get_int("linear_before_reset", 0) == 1
    w, r = _array(required_input(node, W)), _array(required_input(node, R))
    bias = optional_input(node, B)
    b = _array(bias) if bias is not None else np.zeros((len(w), 2 * w.shape[1]), np.float32)
    backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    directions = tuple(
        _direction(node_name(node), is_backward, w[d], r[d], b[d], reset_after)
        for d, is_backward in enumerate(backward[node.attributes.get_string("direction", "forward")])
    )
    states = (INITIAL_H, INITIAL_C) if cell == "LSTM" else (INITIAL_H,)
    return Layer(
        node=node,
        name=node_name(node),
        cell=cell,
        reset_after=reset_after,
        hidden_size=r.shape[2],
        directions=directions,
        x=required_input(node, X),
        lengths=optional_input(node, SEQUENCE_LENS),
        initial_states=tuple(optional_input(node, index) for index in states),
        outputs=tuple(used_output(node, index) for index in range(len(states) + 1)),
    )


def remove_unused(values: Sequence[ir.Value | None]) -> None:
    """Take initializers out of their graph that nothing reads any more."""
    for value in values:
        unused = value is not None and not (value.uses() or value.is_graph_output() or value.is_graph_input())
        if (
            unused
            and value is not None
            and value.is_initializer()
            and value.graph is not None
            and value.name is not None
        ):
            value.graph.initializers.pop(value.name)


def _direction(name: str, backward: bool, w: Array, r: Array, b: Array, reset_after: bool) -> Direction:
    input_bias, recurrent_bias = np.split(b, 2)
    inside = None
    if reset_after:
        hidden_size = r.shape[1]
        inside = recurrent_bias[-hidden_size:]
        recurrent_bias = np.concatenate([recurrent_bias[:-hidden_size], np.zeros_like(inside)])
    suffix = "backward" if backward else "forward"
    return Direction(
        f"{name}.{suffix}", backward, w, r, input_bias + recurrent_bias, inside if np.any(inside) else None
    )


def _array(value: ir.Value) -> Array:
    tensor = ir.convenience.get_const_tensor(value)
    assert tensor is not None, "why_not_readable has made sure of it"
    return tensor.numpy()
