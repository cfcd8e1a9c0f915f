"""Weights as small integers with scales: which scale, and which integer, so that the product changes least.

1. A block of a row's weights shares one scale: w ≈ scale · code, code in −2^(b−1) … 2^(b−1) − 1. A block is a part of
   a row or all of it.
2. The scale is searched for: the weight of largest magnitude is mapped to the code −2^(b−1), to one less, or somewhat
   beyond; each is then fitted to the codes that it gives, and the one with the least error is taken. In 4 bits a scale
   may be negative, so that the code of largest magnitude is always of use; in 8 bits that would gain nothing.
   The error is Σ d·(w − scale·code)², d the mean square of the input that the weight is for, 1 where it is not known.
3. In 4 bits, where the inputs' second moments are known, the codes are chosen one column after the other, and what
   rounding one does to the product is made good by the columns that follow: Frantar et al. 2023, "GPTQ", algorithm 1.
   In 8 bits the rounding of the inputs weighs more than that of the weights, so nothing would be gained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_SMALLEST_FACTOR = {4: 0.7, 8: 0.95}
_FACTORS = 7
_DAMPING = 0.01
"""Added to the moments' diagonal, relative to its mean, as in the paper."""
_COLUMNS_AT_ONCE = 128


@dataclass(frozen=True)
class QuantizedWeights:
    """w [N, K] ≈ scales · codes; the last block of a row is filled up with zeros."""

    codes: NDArray[np.int8]
    """[N, blocks, block size]"""
    scales: Array
    """[N, blocks]"""
    columns: int
    """K"""

    def dequantized(self) -> Array:
        """[N, K]."""
        weights = self.codes * self.scales[:, :, None]
        return weights.reshape(len(weights), -1)[:, : self.columns]


def quantize(
    weights: Array, bits: int, block_size: int, moments: NDArray[np.float64] | None = None
) -> QuantizedWeights:
    """Quantize weights [N, K].

    Args:
        weights: One row for each output.
        bits: 4 or 8.
        block_size: Weights of a row that share a scale.
        moments: Σ x·xᵀ over the inputs x of the product, [K, K]; `None` where they are not known.
    """
    importance = np.ones(weights.shape[1]) if moments is None else np.maximum(np.diag(moments), 1e-12)
    blocks = _blocks(weights, block_size)
    scales, codes = _search(blocks, _blocks(importance[None].astype(np.float32), block_size), bits)
    if moments is not None and bits == 4:
        rounded = _round_with_feedback(weights, np.repeat(scales, block_size, axis=1), bits, moments)
        codes = _blocks(rounded, block_size)
    return QuantizedWeights(codes.astype(np.int8), scales, weights.shape[1])


def _blocks(weights: Array, block_size: int) -> Array:
    """[N, K] → [N, blocks, block size]."""
    padded = np.pad(weights, [(0, 0), (0, -weights.shape[1] % block_size)])
    return padded.reshape(len(weights), -1, block_size)


def _search(blocks: Array, importance: Array, bits: int) -> tuple[Array, Array]:
    """Scales [N, blocks] and codes of least error; rule 2."""
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[:, :, None], axis=2)
    if bits == 8:
        extreme = -np.abs(extreme)
    widest = np.where(extreme == 0, 1, extreme / -(2.0 ** (bits - 1))).astype(np.float32)
    best_error = np.full(blocks.shape[:2], np.inf, np.float32)
    best = np.zeros_like(best_error)
    one_less = 1 + 1 / (2 ** (bits - 1) - 1)
    for factor in np.append(np.linspace(1, _SMALLEST_FACTOR[bits], _FACTORS), one_less).astype(np.float32):
        scale, error = _refined(blocks, importance, widest * factor, bits)
        better = error < best_error
        best_error, best = np.where(better, error, best_error), np.where(better, scale, best)
    return best, _codes(blocks, best[:, :, None], bits)


def _refined(blocks: Array, importance: Array, scale: Array, bits: int) -> tuple[Array, Array]:
    """The best scale [N, blocks] for the codes that `scale` gives, and the error with codes of its own."""
    codes = _codes(blocks, scale, bits)
    weight = (importance * codes * codes).sum(axis=2)
    fitted = np.where(weight > 0, (importance * blocks * codes).sum(axis=2) / np.where(weight > 0, weight, 1), 1)
    codes = _codes(blocks, fitted[:, :, None], bits)
    return fitted, (importance * (blocks - codes * fitted[:, :, None]) ** 2).sum(axis=2)


def _codes(weights: Array, scale: Array, bits: int) -> Array:
    limit = 2 ** (bits - 1)
    codes: Array = np.clip(np.rint(weights / scale), -limit, limit - 1)
    return codes


def _round_with_feedback(weights: Array, scales: Array, bits: int, moments: NDArray[np.float64]) -> Array:
    """Codes [N, K]; rule 3."""
    size = len(moments)
    damped = moments + np.eye(size) * max(_DAMPING * np.trace(moments) / size, 1e-12)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)  # upper
    left, codes = weights.copy(), np.zeros_like(weights)
    for start in range(0, size, _COLUMNS_AT_ONCE):
        stop = min(start + _COLUMNS_AT_ONCE, size)
        errors = np.zeros((len(weights), stop - start), np.float32)
        for k in range(start, stop):
            codes[:, k] = _codes(left[:, k], scales[:, k], bits)
            errors[:, k - start] = (left[:, k] - codes[:, k] * scales[:, k]) / factor[k, k]
            left[:, k:stop] -= errors[:, k - start, None] * factor[k, k:stop]
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    return codes
