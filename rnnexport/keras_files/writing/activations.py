"""Activations as nodes."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir

from rnnexport.keras_files.activations import Activation
from rnnexport.keras_files.writing.nodes import Nodes

FUSED = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
"""What every runtime takes as an activation of its fused operators, by Keras's name."""


def activated(nodes: Nodes, activation: Activation, x: ir.Value) -> ir.Value:
    """Write an activation."""
    return _WRITERS[activation.name](nodes, x, *activation.numbers)


def _clip(nodes: Nodes, x: ir.Value, least: float, most: float) -> ir.Value:
    return nodes.op("Clip", x, nodes.floats(least, "least"), nodes.floats(most, "most"))


def _times(nodes: Nodes, x: ir.Value, factor: float) -> ir.Value:
    return nodes.op("Mul", x, nodes.floats(factor, "factor"))


def _hard_sigmoid(nodes: Nodes, x: ir.Value, slope: float) -> ir.Value:
    return nodes.op("HardSigmoid", x, alpha=slope, beta=0.5)


def _relu_layer(nodes: Nodes, x: ir.Value, slope: float, limit: float, threshold: float) -> ir.Value:
    positive = nodes.op("Relu", x)
    if threshold:
        counts = nodes.op("Greater", x, nodes.floats(threshold, "threshold"))
        positive = nodes.op("Where", counts, x, nodes.floats(0.0, "zero"))
    if limit != math.inf:
        positive = _clip(nodes, positive, 0.0, limit)
    if not slope:
        return positive
    below = nodes.op("Relu", nodes.op("Sub", nodes.floats(threshold, "threshold"), x))
    return nodes.op("Sub", positive, _times(nodes, below, slope))


def _gelu(nodes: Nodes, x: ir.Value) -> ir.Value:
    half = nodes.op("Erf", _times(nodes, x, math.sqrt(0.5)))
    return _times(nodes, nodes.op("Mul", x, nodes.op("Add", half, nodes.floats(1.0, "one"))), 0.5)


def _silu(nodes: Nodes, x: ir.Value) -> ir.Value:
    return nodes.op("Mul", x, nodes.op("Sigmoid", x))


def _log_sigmoid(nodes: Nodes, x: ir.Value) -> ir.Value:
    return nodes.op("Neg", nodes.op("Softplus", nodes.op("Neg", x)))


def _mish(nodes: Nodes, x: ir.Value) -> ir.Value:
    return nodes.op("Mul", x, nodes.op("Tanh", nodes.op("Softplus", x)))


def _hard_shrink(nodes: Nodes, x: ir.Value) -> ir.Value:
    large = nodes.op("Greater", nodes.op("Abs", x), nodes.floats(0.5, "threshold"))
    return nodes.op("Where", large, x, nodes.floats(0.0, "zero"))


def _squareplus(nodes: Nodes, x: ir.Value) -> ir.Value:
    root = nodes.op("Sqrt", nodes.op("Add", nodes.op("Mul", x, x), nodes.floats(4.0, "four")))
    return _times(nodes, nodes.op("Add", x, root), 0.5)


def _sparse_plus(nodes: Nodes, x: ir.Value) -> ir.Value:
    root = nodes.op("Relu", nodes.op("Add", x, nodes.floats(1.0, "one")))
    small = nodes.op("Less", x, nodes.floats(1.0, "one"))
    return nodes.op("Where", small, _times(nodes, nodes.op("Mul", root, root), 0.25), x)


_WRITERS: dict[str, Callable[..., ir.Value]] = {
    "linear": lambda nodes, x: x,
    "relu": lambda nodes, x: nodes.op("Relu", x),
    "relu6": lambda nodes, x: _clip(nodes, x, 0.0, 6.0),
    "relu_layer": _relu_layer,
    "leaky_relu": lambda nodes, x, slope: nodes.op("LeakyRelu", x, alpha=slope),
    "elu": lambda nodes, x, alpha: nodes.op("Elu", x, alpha=alpha),
    "celu": lambda nodes, x, alpha: nodes.op("Celu", x, alpha=alpha),
    "selu": lambda nodes, x: nodes.op("Selu", x),
    "gelu": _gelu,
    "softplus": lambda nodes, x: nodes.op("Softplus", x),
    "softsign": lambda nodes, x: nodes.op("Softsign", x),
    "softmax": lambda nodes, x: nodes.op("Softmax", x, axis=-1),
    "log_softmax": lambda nodes, x: nodes.op("LogSoftmax", x, axis=-1),
    "silu": _silu,
    "tanh": lambda nodes, x: nodes.op("Tanh", x),
    "tanh_shrink": lambda nodes, x: nodes.op("Sub", x, nodes.op("Tanh", x)),
    "sigmoid": lambda nodes, x: nodes.op("Sigmoid", x),
    "log_sigmoid": _log_sigmoid,
    "exponential": lambda nodes, x: nodes.op("Exp", x),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda nodes, x: nodes.op("Mul", x, _hard_sigmoid(nodes, x, 1 / 6)),
    "hard_tanh": lambda nodes, x: _clip(nodes, x, -1.0, 1.0),
    "mish": _mish,
    "hard_shrink": _hard_shrink,
    "soft_shrink": lambda nodes, x: nodes.op("Sub", x, _clip(nodes, x, -0.5, 0.5)),
    "squareplus": _squareplus,
    "sparse_plus": _sparse_plus,
    "absolute": lambda nodes, x: nodes.op("Abs", x),
    "negative": lambda nodes, x: nodes.op("Neg", x),
    "log": lambda nodes, x: nodes.op("Log", x),
    "sqrt": lambda nodes, x: nodes.op("Sqrt", x),
    "square": lambda nodes, x: nodes.op("Mul", x, x),
    "sparse_sigmoid": lambda nodes, x: nodes.op("HardSigmoid", x, alpha=0.5, beta=0.5),
}
