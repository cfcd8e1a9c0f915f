"""What may be said of a list of latencies.

Calls of one process are alike in ways that calls of another are not (memory layout, clock frequency, what else the
machine does), so intervals and tests take *windows* as their units: medians of some tens of calls in a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_SAMPLES = {50: 10, 90: 64, 95: 130, 99: 662, 99.9: 6636}
"""Samples below which a percentile means nothing: MLPerf LoadGen's counts, at 99 % confidence, for p90 and above."""

STABLE_WINDOWS = 3
STABLE_TOLERANCE = 0.10
_RESAMPLINGS = 1000
_POINTS = 50
"""Quantiles that stand for the samples of a window."""


def percentile_ns(samples_ns: Sequence[int], percentile: float) -> int | None:
    """Return a percentile by nearest rank, or `None` where there are too few samples for it to mean something."""
    if len(samples_ns) < LEAST_SAMPLES[percentile]:
        return None
    return int(np.percentile(samples_ns, percentile, method="inverted_cdf"))


def is_stable(medians: Sequence[float]) -> bool:
    """Say whether the last three windows' medians lie within 10 %; false also where there are fewer."""
    last = medians[-STABLE_WINDOWS:]
    return len(last) == STABLE_WINDOWS and spread(last) <= STABLE_TOLERANCE


def spread(medians: Sequence[float]) -> float:
    """How far the largest lies above the smallest, as a share of the smallest."""
    return max(medians) / min(medians) - 1


def median_interval(
    windows: Sequence[Sequence[float] | NDArray[np.float64]], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The interval of the median of all samples, by a percentile bootstrap that draws whole windows.

    Calls of one window are alike, so drawing single calls would give an interval far too narrow (Efron and Tibshirani
    1993, sections 8.5 and 13.3).
    """
    count, positions = len(windows), (np.arange(_POINTS) + 0.5) / _POINTS
    points = np.concatenate([np.quantile(window, positions) for window in windows])  # stand for the window's samples
    samples_per_window = np.array([len(window) for window in windows])
    order = np.argsort(points)
    in_order = points[order]
    medians = []
    for times_drawn in np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLINGS):
        weights = np.repeat(times_drawn * samples_per_window, _POINTS)[order]
        up_to = np.cumsum(weights)  # the weight of all points up to each
        medians.append(in_order[np.searchsorted(up_to, up_to[-1] / 2)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)
