"""What may be said of a list of latencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_SAMPLES = {50: 10, 90: 64, 95: 130, 99: 662, 99.9: 6636}
"""Samples below which a percentile means nothing: MLPerf LoadGen's counts, at 99 % confidence, for p90 and above."""

WINDOWS = 3
WINDOW_TOLERANCE = 0.10


def percentile_ns(samples_ns: Sequence[int], percentile: float) -> int | None:
    """Return a percentile by nearest rank, or `None` where there are too few samples for it to mean something."""
    if len(samples_ns) < LEAST_SAMPLES[percentile]:
        return None
    return int(np.percentile(samples_ns, percentile, method="inverted_cdf"))


def is_stable(samples_ns: Sequence[int]) -> bool:
    """Say whether the medians of the three thirds of the run, in order of time, lie within 10 % of each other.

    False also where there are too few samples to tell.
    """
    if len(samples_ns) < WINDOWS * 3:
        return False
    medians = [float(np.median(window)) for window in np.array_split(np.asarray(samples_ns), WINDOWS)]
    return max(medians) - min(medians) <= WINDOW_TOLERANCE * min(medians)
