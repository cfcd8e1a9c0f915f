"""Rounding of float64 numbers to what narrower formats can hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_UNIT = 2.0**-24
"""How much rounding to float32 changes a number at most, relative to it."""
SMALLEST = float(np.finfo(np.float32).tiny)
"""Below it float32 keeps fewer digits, and some kernels nothing."""


def within_a_unit(x: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Move each number by up to one unit in float32's last place, up or down: one draw of what rounding may do."""
    return np.asarray(x * (1 + 2 * HALF_UNIT * generator.uniform(-1, 1, np.shape(x))))


def to_float32(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """IEEE 754 binary32: 24 bits."""
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(np.float32).astype(np.float64)


def to_float16(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """IEEE 754 binary16: 11 bits, and infinite above 65504."""
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(np.float16).astype(np.float64)


def to_bfloat16(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """bfloat16: 8 bits, with float32's range."""
    return _to_bits(x, 8)


def to_tf32(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """TensorFloat-32, what NVIDIA's tensor cores make of float32: 11 bits, with float32's range."""
    return _to_bits(x, 11)


def _to_bits(x: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    mantissa, exponent = np.frexp(x)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits))
