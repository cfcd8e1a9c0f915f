"""Activations by their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.keras_files.activations import Activation

Array = NDArray[np.floating[Any]]
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_erf = np.vectorize(math.erf, otypes=[np.float64])


def activate(activation: Activation, x: Array) -> Array:
    """Apply an activation."""
    with np.errstate(over="ignore"):
        return np.asarray(_FUNCTIONS[activation.name](x, *activation.numbers)).astype(x.dtype, copy=False)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, x.dtype.type(0))


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: Array, alpha: float) -> Array:
    return np.asarray(np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha)))


def _softmax(x: Array) -> Array:
    e: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _relu_layer(x: Array, slope: float, limit: float, threshold: float) -> Array:
    """keras.activations.relu with numbers."""
    if slope != 0 and threshold == 0 and limit == math.inf:
        return np.where(x > 0, x, slope * x)
    positive = np.where(x > threshold, x, 0) if threshold != 0 else _relu(x)
    clipped = np.clip(positive, 0, limit) if limit != math.inf else positive
    return clipped - slope * _relu(threshold - x)


_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "linear": lambda x: x,
    "relu": _relu,
    "relu6": lambda x: np.clip(x, 0, 6),
    "relu_layer": _relu_layer,
    "leaky_relu": lambda x, slope: np.where(x > 0, x, slope * x),
    "elu": _elu,
    "celu": _celu,
    "selu": lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA),
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softmax": _softmax,
    "log_softmax": lambda x: (
        x - x.max(-1, keepdims=True) - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))
    ),
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
    "tanh_shrink": lambda x: x - np.tanh(x),
    "sigmoid": _sigmoid,
    "log_sigmoid": lambda x: -_softplus(-x),
    "exponential": np.exp,
    "hard_sigmoid": lambda x, slope: np.clip(slope * x + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "hard_shrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),
    "soft_shrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "squareplus": lambda x: (x + np.sqrt(x**2 + 4)) / 2,
    "sparse_plus": lambda x: np.where(x < 1, np.maximum(x + 1, 0) ** 2 / 4, x),
    "absolute": np.abs,
    "negative": np.negative,
    "log": np.log,
    "sqrt": np.sqrt,
    "square": np.square,
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
}
