"""Verdicts on drawn windows: no false alarm, a planted slow-down found, and silence where nobody can tell."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from rnnexport.benchmark.interleaving import Repetition
from rnnexport.benchmark.verdicts import Verdict, judge

RUNS = 150


def draw(generator: np.random.Generator, factor: float = 1.0, disturbed: float = 0.5, windows: int = 20) -> Repetition:
    """A process with a level of its own; a neighbour makes some windows half again as slow, and the pulse with them."""
    level = 40_000 * factor * generator.normal(1, 0.005)
    slow = np.where(generator.random(windows) < disturbed, 1.5, 1.0)
    medians = level * slow * (1 + np.abs(generator.normal(0, 0.01, windows)))
    pulses = 65_000 * slow * (1 + np.abs(generator.normal(0, 0.02, windows)))
    return Repetition(windows_ns=[[int(median)] for median in medians], pulses_ns=pulses.tolist())


def outcomes(factor: float, **how: Any) -> Counter[str]:
    generator = np.random.default_rng(0)
    return Counter(
        judge(
            [draw(generator, **how) for _ in range(2)],
            [draw(generator, factor, **how) for _ in range(2)],
        ).outcome
        for _ in range(RUNS)
    )


@pytest.mark.parametrize("disturbed", [0.0, 0.3, 0.6])
def test_the_same_is_never_faster_or_slower(disturbed: float) -> None:
    found = outcomes(1.0, disturbed=disturbed)
    assert found["faster"] + found["slower"] == 0
    assert found["equivalent"] >= 0.95 * RUNS


@pytest.mark.parametrize(("factor", "outcome"), [(1.10, "slower"), (1 / 1.10, "faster")])
@pytest.mark.parametrize("disturbed", [0.0, 0.3, 0.6])
def test_a_tenth_more_or_less_is_found(factor: float, outcome: str, disturbed: float) -> None:
    assert outcomes(factor, disturbed=disturbed)[outcome] >= 0.95 * RUNS


def test_a_difference_below_the_limit_is_no_verdict() -> None:
    found = outcomes(1.02)
    assert found["slower"] == found["faster"] == 0


def slowed(repetition: Repetition, factor: float) -> Repetition:
    """The same on a machine that is slower by this factor."""
    return Repetition(
        windows_ns=[[int(sample * factor) for sample in window] for window in repetition.windows_ns],
        pulses_ns=[pulse * factor for pulse in repetition.pulses_ns],
    )


def both(*before: Repetition, after: list[Repetition]) -> Verdict:
    return judge(list(before), after)


def test_a_slower_machine_is_not_taken_for_a_slower_model() -> None:
    generator = np.random.default_rng(1)
    quiet = [draw(generator, disturbed=0) for _ in range(4)]
    verdict = both(*quiet[:2], after=[slowed(repetition, 1.5) for repetition in quiet[2:]])
    assert verdict.outcome == "cannot tell"
    assert "the machine was slower all through after" in (verdict.reason or "")


def test_too_few_windows_are_no_evidence() -> None:
    generator = np.random.default_rng(1)
    few = [draw(generator, disturbed=0, windows=3) for _ in range(2)]
    verdict = both(*few, after=[draw(generator, 2.0, disturbed=0) for _ in range(2)])
    assert verdict.outcome == "cannot tell"
    assert "only 6 windows before were undisturbed" in (verdict.reason or "")


def test_repetitions_that_disagree_are_no_evidence() -> None:
    generator = np.random.default_rng(1)
    before = [draw(generator, factor, disturbed=0) for factor in (1.0, 1.3)]
    after = [draw(generator, factor, disturbed=0) for factor in (1.2, 1.5)]
    assert judge(before, after).outcome == "cannot tell"


def test_equivalence_needs_more_than_no_difference() -> None:
    generator = np.random.default_rng(1)
    unsteady = [
        Repetition(windows_ns=[[int(m)] for m in 40_000 * generator.uniform(1, 2, 20)], pulses_ns=[65_000.0] * 20)
        for _ in range(4)
    ]
    assert judge(unsteady[:2], unsteady[2:]).outcome == "cannot tell"
