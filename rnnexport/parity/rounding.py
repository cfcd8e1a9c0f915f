"""Rounding of float64 numbers to what narrower formats can hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
