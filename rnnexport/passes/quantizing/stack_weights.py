"""The weights of the operator `rnnexport::RecurrentStack` as its description has them: integers, scales, bytes.

A row has one scale with 16 and 8 bits, and one for each block of columns with 4; 32 bits are the values themselves.
Source: the operator's description, kernels/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rnnexport.passes.quantizing.quantization import quantize

Bits = Literal[32, 16, 8, 4]


@dataclass(frozen=True)
class StoredRows:
    """Rows of a gate's matrix, as the file holds them."""

    content: NDArray[np.uint8]
    """[bytes], row after row."""
    scales: NDArray[np.float32]
    """[rows] with 16 and 8 bits, [rows · blocks] with 4, none with 32."""


def stored_rows(
    matrix: NDArray[np.float32], bits: Bits, block_size: int, moments: NDArray[np.float64] | None = None
) -> StoredRows:
    """Round and pack the rows [N, K] of one gate.

    Args:
        matrix: The weights.
        bits: Of each weight.
        block_size: Columns that share a scale, with 4 bits.
        moments: Σ x·xᵀ over what the matrix is multiplied with, [K, K]; used with 4 bits.
    """
    if bits == 32:
        return StoredRows(_bytes(matrix.astype("<f4")), np.zeros(0, np.float32))
    if bits == 4:
        quantized = quantize(matrix, 4, block_size, moments)
        codes = quantized.codes.reshape(len(matrix), -1)[:, : matrix.shape[1]]
        return StoredRows(_nibbles(codes), quantized.scales.ravel())
    largest = 2 ** (bits - 1) - 1
    scales = (np.abs(matrix).max(axis=1, initial=0) / largest).astype(np.float32)
    codes = np.rint(matrix / np.where(scales == 0, 1, scales)[:, None])
    return StoredRows(_bytes(np.clip(codes, -largest, largest).astype("<i2" if bits == 16 else "i1")), scales)


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(values.tobytes(), np.uint8)


def _nibbles(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two columns a byte, the first in the low half; a row of an odd number ends in 0."""
    halves = np.pad(codes, [(0, 0), (0, codes.shape[1] % 2)]).view(np.uint8) & np.uint8(15)
    return np.asarray(halves[:, 0::2] | halves[:, 1::2] << np.uint8(4), np.uint8).ravel()
