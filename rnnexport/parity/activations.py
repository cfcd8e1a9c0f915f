"""The activation functions of the ONNX operators LSTM, GRU and RNN, in float64.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html. Defaults of alpha and beta are those of the ONNX operator of the
same name; ScaledTanh is none any more, so it has no defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import InputError, UnknownNameError

Float64 = NDArray[np.float64]
Activation = Callable[[Float64], Float64]


def _sigmoid(x: Float64) -> Float64:
    return np.exp(-np.logaddexp(0, -x))


# Functions of x, of x and alpha, or of x, alpha and beta.
_FUNCTIONS: dict[str, Callable[..., Float64]] = {
    "relu": lambda x: np.maximum(0, x),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "leakyrelu": lambda x, alpha: np.where(x >= 0, x, alpha * x),
    "thresholdedrelu": lambda x, alpha: np.where(x >= alpha, x, 0),
    "elu": lambda x, alpha: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "affine": lambda x, alpha, beta: alpha * x + beta,
    "scaledtanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "hardsigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
}
_DEFAULT_ALPHA = {"leakyrelu": 0.01, "thresholdedrelu": 1.0, "elu": 1.0, "affine": 1.0, "hardsigmoid": 0.2}
_DEFAULT_BETA = {"affine": 0.0, "hardsigmoid": 0.5}
_TAKE_BETA = {"affine", "scaledtanh", "hardsigmoid"}
_TAKE_ALPHA = _TAKE_BETA | {"leakyrelu", "thresholdedrelu", "elu"}


def bind_activations(names: Sequence[str], alpha: Sequence[float], beta: Sequence[float]) -> list[Activation]:
    """Bind each activation to its alpha and beta.

    Args:
        names: Names as the specification has them; in any case, as in ONNX Runtime.
        alpha: Consumed in order by those activations that take an alpha, whatever is missing by default.
        beta: Likewise.

    Raises:
        UnknownNameError: The specification has no such activation.
        InputError: ScaledTanh without alpha or beta, which have no default.
    """
    alphas, betas = iter(alpha), iter(beta)
    functions: list[Activation] = []
    for name in map(str.lower, names):
        if name not in _FUNCTIONS:
            raise UnknownNameError("activation", name, _FUNCTIONS)
        values: dict[str, float | None] = {}
        if name in _TAKE_ALPHA:
            values["alpha"] = next(alphas, _DEFAULT_ALPHA.get(name))
        if name in _TAKE_BETA:
            values["beta"] = next(betas, _DEFAULT_BETA.get(name))
        if None in values.values():
            raise InputError(f"activation {name!r} has no default; give activation_alpha and activation_beta")
        functions.append(partial(_FUNCTIONS[name], **values))
    return functions
