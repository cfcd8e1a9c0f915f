"""Columns of W whose weights are too large to share a scale with others, such as those of `padding_mask.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_VERY_LARGE = 1e3


def outlier_columns(w: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the indices of such columns of weights [..., K]."""
    largest = np.abs(w).reshape(-1, w.shape[-1]).max(axis=0, initial=0)
    return np.flatnonzero(largest > _VERY_LARGE)
