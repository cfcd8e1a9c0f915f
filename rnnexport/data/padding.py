"""Series of different lengths as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pad_series(series: Sequence[NDArray[Any]], fill: int = 0) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Stack series, each [time, ...], to ([B, T, ...] with `fill` at the end, lengths int64 [B])."""
    lengths = np.array([len(values) for values in series], np.int64)
    padded = np.full((len(series), lengths.max(), *series[0].shape[1:]), fill, series[0].dtype)
    for row, values in enumerate(series):
        padded[row, : len(values)] = values
    return padded, lengths
