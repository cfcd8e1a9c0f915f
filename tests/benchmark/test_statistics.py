"""What is said of a list of latencies, on samples whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnexport.benchmark.statistics import is_stable, median_interval, percentile_ns


@pytest.mark.parametrize(("percentile", "least"), [(50, 10), (90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_a_percentile_needs_enough_samples(percentile: float, least: int) -> None:
    samples = list(range(1, least + 1))
    assert percentile_ns(samples[:-1], percentile) is None
    assert percentile_ns(samples, percentile) == int(np.ceil(least * percentile / 100))


def test_the_interval_holds_the_median_and_counts_windows_as_units() -> None:
    for calls in (30, 3000):
        widths = []
        for seed in range(20):
            generator = np.random.default_rng(seed)
            windows = [generator.normal(level, 5, size=calls) for level in generator.normal(1000, 50, size=20)]
            low, high = median_interval(windows)
            assert low <= np.median(np.concatenate(windows)) <= high
            widths.append(high - low)
        assert 30 < np.mean(widths) < 80  # 2 · 1.96 · √(π/2) · 50/√20 = 55; with calls as units it would be below 5


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=9), min_size=1, max_size=6), st.integers(1, 40))
def test_the_interval_holds_the_median_of_unsteady_calls(windows: list[list[int]], times: int) -> None:
    """Calls that take one of a few times, so that next to the median lies something else."""
    repeated = [window * times for window in windows]
    low, high = median_interval(repeated)
    median = np.percentile(np.concatenate(repeated), 50, method="inverted_cdf")
    assert low <= median <= high


def test_the_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        levels = generator.normal(1000, 50, size=20)
        low, high = median_interval([generator.normal(level, 5, size=20) for level in levels])
        covered += low <= 1000 <= high
    assert 51 <= covered <= 60


@pytest.mark.parametrize(
    ("medians", "stable"),
    [
        ([100, 100, 100], True),
        ([300, 200, 100, 105, 109], True),
        ([100, 100, 100, 105, 112], False),
        ([100, 100], False),
    ],
)
def test_stable_when_the_last_three_windows_agree(medians: list[float], stable: bool) -> None:
    assert is_stable(medians) is stable
