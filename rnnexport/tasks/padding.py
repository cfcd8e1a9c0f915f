"""Series of different lengths as one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pad_series(series: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Stack series, each [time, features], to (float32 [B, T, features] with zeros at the end, lengths int64 [B])."""
    lengths = np.array([len(values) for values in series], np.int64)
    padded = np.zeros((len(series), lengths.max(), series[0].shape[1]), np.float32)
    for row, values in enumerate(series):
        padded[row, : len(values)] = values
    return padded, lengths
