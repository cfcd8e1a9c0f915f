"""Which activations a Keras file may name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnexport.keras_files.layer_options import LayerOptions


@dataclass(frozen=True, slots=True)
class Activation:
    """A function and its numbers; `name` is Keras's, but for functions that depend on Keras's version."""

    name: str
    numbers: tuple[float, ...] = ()


_WITHOUT_NUMBERS = frozenset(
    [
        "linear",
        "relu",
        "relu6",
        "selu",
        "softplus",
        "softsign",
        "silu",
        "tanh",
        "sigmoid",
        "exponential",
        "hard_silu",
        "hard_tanh",
        "mish",
        "log_sigmoid",
        "softmax",
        "log_softmax",
        "tanh_shrink",
        "gelu",
        "hard_shrink",
        "soft_shrink",
        "squareplus",
        "sparse_plus",
        "sparse_sigmoid",
    ]
)
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}
_DEFAULTS = {"elu": (1.0,), "celu": (1.0,), "leaky_relu": (0.2,)}


def read_activation(name: str, *, keras_2: bool) -> Activation | None:
    """Return the activation of that name, `None` where there is none.

    Keras 2's hard sigmoid is clip(x/5 + 1/2), Keras 3's clip(x/6 + 1/2).
    """
    name = _ALIASES.get(name, name)
    if name == "hard_sigmoid":
        return Activation("hard_sigmoid", (1 / 5 if keras_2 else 1 / 6,))
    if name in _DEFAULTS:
        return Activation(name, _DEFAULTS[name])
    return Activation(name) if name in _WITHOUT_NUMBERS else None


def _relu(options: LayerOptions) -> Activation:
    limit = options.value("max_value", None)
    numbers = (
        options.number("negative_slope", 0.0),
        float("inf") if limit is None else float(limit),
        options.number("threshold", 0.0),
    )
    return Activation("relu_layer", numbers)


def _leaky_relu(options: LayerOptions) -> Activation:
    # Keras 2 calls it alpha, and has another default.
    slope = options.number("alpha", 0.3) if options.keras_2 else options.number("negative_slope", 0.3)
    return Activation("leaky_relu", (slope,))


def _softmax(options: LayerOptions) -> Activation:
    options.choice("axis", (-1, [-1]), -1)
    return Activation("softmax")


ACTIVATION_LAYERS: dict[str, Callable[[LayerOptions], Activation]] = {
    "Activation": lambda options: options.activation("activation"),
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    # x where it is above the threshold
    "ThresholdedReLU": lambda options: Activation("relu_layer", (0.0, float("inf"), options.number("theta", 1.0))),
    "ELU": lambda options: Activation("elu", (options.number("alpha", 1.0),)),
    "Softmax": _softmax,
}
"""Layers that are an activation and nothing else."""
