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
_MOST_CANDIDATES = 1000
"""Samples among which the medians of the resamplings are looked for."""


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
    """The interval of the median of all samples by nearest rank, by a percentile bootstrap that draws whole windows.

    Calls of one window are alike, so drawing single calls would give an interval far too narrow (Efron and Tibshirani
    1993, sections 8.5 and 13.3).
    """
    samples = np.sort(np.concatenate(windows))
    median, step = (len(samples) - 1) // 2, -(-len(samples) // _MOST_CANDIDATES)
    candidates = np.append(samples[median % step :: step], samples[-1])  # the median of all samples is one of them
    up_to = np.array([np.searchsorted(np.sort(window), candidates, side="right") for window in windows], float)
    count = len(windows)
    times_drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLINGS)
    drawn_up_to = times_drawn @ up_to  # [resampling, candidate]: how many of the samples drawn are not above it
    medians = candidates[np.argmax(drawn_up_to >= drawn_up_to[:, -1:] / 2, axis=1)]  # by nearest rank
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)
