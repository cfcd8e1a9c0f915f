"""Is one measurement faster than another, slower, equivalent, or can nobody tell?

1. Only windows count in which the machine itself was as fast as it can be, as its pulse tells: a neighbour on the same
   core can cost half of the speed, and meets one side or the other by chance. What is left of disturbance only ever
   adds time, so the lower quartile of these windows is compared.
2. A difference is shown when Mann and Whitney's test of the windows gives p < 0.002, the quartiles differ by more than
   5 %, and all repetitions of one side lie on the same side of all of the other: processes differ by themselves.
3. Equivalence needs evidence, too: the 95 % interval of the ratio, and each repetition's, lie within ±5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.benchmark.interleaving import Repetition, lowest_pulse

Outcome = Literal["faster", "slower", "equivalent", "cannot tell"]
SIGNIFICANCE = 0.002
_EFFECT = 0.05
_LEAST_WINDOWS = 8
"""Of each side; Mann and Whitney's p cannot fall below 0.002 with fewer than 7."""
_LOWER_QUARTILE = 25
_RESAMPLINGS = 1000

Windows = list[NDArray[np.float64]]
"""Medians of windows, by repetition."""


class Verdict(BaseModel):
    """What two measurements of the same work show."""

    outcome: Outcome
    ratio: float | None = None
    """Latency after over latency before, at the lower quartile of the undisturbed windows; below 1 is faster."""
    interval: tuple[float, float] | None = None
    """Of the ratio: the 95 % bootstrap interval, widened to hold what each pair of repetitions gives by itself."""
    p: float | None = None
    """Of Mann and Whitney's test."""
    reason: str | None = None
    """Why nobody can tell, where that is so."""


def judge(before: Sequence[Repetition], after: Sequence[Repetition], seed: int = 0) -> Verdict:
    """Compare two measurements of one row."""
    from scipy.stats import mannwhitneyu  # takes half a second to load

    pulse = lowest_pulse([*before, *after])
    first, second = _undisturbed(before, pulse), _undisturbed(after, pulse)
    for side, windows in (("before", first), ("after", second)):
        if (count := sum(map(len, windows))) < _LEAST_WINDOWS:
            how = (
                f"only {count} windows {side} were undisturbed"
                if count
                else f"the machine was slower all through {side}"
            )
            return Verdict(outcome="cannot tell", reason=f"{how}; measure longer, or when nothing else runs")
    pairs = [_lower_quartile(b) / _lower_quartile(a) for a in first for b in second]
    low, high = _interval(first, second, seed)
    verdict = Verdict(
        outcome="cannot tell",
        ratio=_lower_quartile(np.concatenate(second)) / _lower_quartile(np.concatenate(first)),
        interval=(min(low, *pairs), max(high, *pairs)),
        p=float(mannwhitneyu(np.concatenate(first), np.concatenate(second), method="asymptotic").pvalue),
    )
    return verdict.model_copy(update=_outcome(verdict, pairs))


def _outcome(verdict: Verdict, pairs: Sequence[float]) -> dict[str, str]:
    assert verdict.ratio is not None
    assert verdict.interval is not None
    assert verdict.p is not None
    size = max(verdict.ratio, 1 / verdict.ratio)
    apart = min(pairs) > 1 or max(pairs) < 1
    if size > 1 + _EFFECT and apart and verdict.p < SIGNIFICANCE:
        return {"outcome": "slower" if verdict.ratio > 1 else "faster"}
    if verdict.interval[0] > 1 / (1 + _EFFECT) and verdict.interval[1] < 1 + _EFFECT:
        return {"outcome": "equivalent"}
    return {"reason": "the figures are too few or too unsteady; measure longer, or with more repetitions"}


def _undisturbed(side: Sequence[Repetition], pulse: float) -> Windows:
    """The windows of each repetition that has any."""
    found = [np.asarray(repetition.undisturbed_medians_ns(pulse)) for repetition in side]
    return [windows for windows in found if len(windows)]


def _lower_quartile(windows: NDArray[np.float64]) -> float:
    return float(np.percentile(windows, _LOWER_QUARTILE))


def _interval(first: Windows, second: Windows, seed: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)

    def draws(side: Windows) -> NDArray[np.float64]:
        drawn = [generator.choice(part, size=(_RESAMPLINGS, len(part))) for part in side]
        return np.asarray(np.percentile(np.concatenate(drawn, axis=1), _LOWER_QUARTILE, axis=1))

    low, high = np.percentile(draws(second) / draws(first), [2.5, 97.5])
    return float(low), float(high)
