"""Measure many candidates in little time: short rounds for all, long ones for the few that are left.

1. The baseline in the first runtime is in every group that is measured, so that groups can be compared: what counts
   is how many times as fast a candidate is as that.
2. What cannot be the fastest is dropped as early as that is known: by its bound, by its errors, by a short round.
   What the time limit leaves no time for is `not measured`, which says nothing about it.
3. The last round has the effort of `bench`, and its verdicts. Among those within 2 % of the fastest the simplest wins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from rnnexport.benchmark.interleaving import (
    LONGEST,
    Effort,
    Figures,
    Repetition,
    Target,
    lower_quartile_ns,
    measure_interleaved,
)
from rnnexport.benchmark.timing import JOB
from rnnexport.benchmark.verdicts import judge
from rnnexport.parity.oracle import feeds_for
from rnnexport.tuning.results import Candidate
from rnnexport.tuning.variant_files import VariantFiles
from rnnexport.tuning.workload import TIME_LIMIT_SECONDS, Workload

AT_ONCE = 6
"""Processes that are alive together, beside that of the baseline."""
FINALISTS = 4
_NEAR = 1.3
"""How many times the fastest's latency a short round may still mistake for it."""
_TIE = 0.02
"""By how much a simpler candidate's latency may be above the fastest's."""
_LEAST_WINDOWS = 6
Samples = list[list[Repetition]]
"""Repetitions by shape."""


class Clock:
    """How much of the time limit is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()


@dataclass
class Rounds:
    """Rounds over candidates, the first of which that is not dropped is the baseline they are measured beside."""

    workload: Workload
    files: VariantFiles
    clock: Clock
    seconds: float
    """Of timed calls for each candidate and shape in the last round."""
    on_progress: Callable[[str], None]
    final: dict[str, Samples] = field(default_factory=dict)
    """What the last round measured, by candidate."""
    _startup_seconds: float = 0.0
    """What a process takes beside its timed calls: the largest mean of a short round."""

    def short_round(self, candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
        """Give every candidate that is alive its figures until the time is up; yields each group that was measured."""
        effort = Effort(self.seconds / 10, 1, _LEAST_WINDOWS, TIME_LIMIT_SECONDS)
        while waiting := [c for c in _alive(candidates) if c.times_plain is None]:
            baseline = _alive(candidates)[0]
            others = [c for c in waiting if c is not baseline]
            group = others[: min(AT_ONCE, self._affordable(self.seconds_left, effort) - 1)]
            if others and not group:
                for candidate in others:
                    leave_out(candidate, "no time was left to measure it")
                if baseline.times_plain is not None:
                    return
            self.on_progress(f"candidates to go: {len(waiting)}, time left: {max(0.0, self.clock.left):.0f} s")
            self._measure(baseline, group, effort)
            yield [baseline, *group]
            if baseline.outcome == "dropped":
                for candidate in candidates:
                    candidate.times_plain = None

    def last_round(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Measure the fastest few again, and return them, the fastest first."""
        if not _alive(candidates):
            return []
        baseline, *rivals = _alive(candidates)
        best = max((c.times_plain or 0.0 for c in rivals), default=0.0)
        near = [c for c in rivals if (c.times_plain or 0.0) * _NEAR >= max(best, 1.0)]
        near.sort(key=lambda c: -(c.times_plain or 0.0))
        effort = Effort(self.seconds, time_limit_seconds=TIME_LIMIT_SECONDS)
        finalists = near[: max(1, min(FINALISTS, self._affordable(self.clock.left, effort) - 1))]
        self.on_progress(f"the last round, candidates: {len(finalists) + 1}")
        self.final = self._measure(baseline, finalists, effort)
        return sorted(_alive([baseline, *finalists]), key=lambda c: -(c.times_plain or 0.0))

    @property
    def seconds_left(self) -> float:
        """Until the last round of the baseline and one other has to begin."""
        return self.clock.left - self._cost(2, Effort(self.seconds))

    def _cost(self, count: int, effort: Effort) -> float:
        """Seconds at most that a round of `count` candidates takes."""
        each = LONGEST * effort.seconds + effort.repetitions * self._startup_seconds
        return count * len(self.workload.calls) * each

    def _affordable(self, seconds: float, effort: Effort) -> int:
        """How many candidates a round of so many seconds can have."""
        return max(1, int(seconds / self._cost(1, effort)))

    def simplest(self, ranked: Sequence[Candidate], order: Sequence[Candidate]) -> Candidate:
        """Return the first in `order` that is as good as tied with the fastest of `ranked`."""
        best = ranked[0]
        for candidate in sorted(ranked, key=order.index):
            if candidate is best or not self._slower(candidate, best):
                return candidate
        return best

    def _slower(self, candidate: Candidate, best: Candidate) -> bool:
        """By more than a tie at some shape, or by the verdict of `bench`."""
        pairs = zip(self.final[best.name], self.final[candidate.name], strict=True)
        verdicts = [judge(before, after) for before, after in pairs]
        return any(v.outcome == "slower" or (v.ratio is not None and v.ratio > 1 + _TIE) for v in verdicts)

    def _measure(self, baseline: Candidate, group: Sequence[Candidate], effort: Effort) -> dict[str, Samples]:
        """Measure a group beside the baseline, shape by shape; a candidate that fails is dropped."""
        samples: dict[str, Samples] = {c.name: [] for c in (baseline, *group)}
        for number in range(len(self.workload.calls)):
            alive = _alive([baseline, *group])
            began = time.monotonic()
            figures = measure_interleaved([self._target(c, number) for c in alive], effort)
            startup = ((time.monotonic() - began) / len(alive) - effort.seconds) / effort.repetitions
            self._startup_seconds = max(self._startup_seconds, startup)
            for candidate, figure in zip(alive, figures, strict=True):
                self._keep(candidate, figure, samples[candidate.name])
        if baseline.outcome == "dropped":  # then the others are measured again, beside another one
            return samples
        base = [lower_quartile_ns(repetitions) for repetitions in samples[baseline.name]]
        for candidate in _alive([baseline, *group]):
            candidate.medians_ns = [lower_quartile_ns(repetitions) for repetitions in samples[candidate.name]]
            ratios = np.array(base) / np.array(candidate.medians_ns)
            candidate.times_plain = float(np.exp(np.mean(np.log(ratios))))
        return samples

    def _target(self, candidate: Candidate, number: int) -> Target:
        definition = candidate.definition
        arguments = {"model": str(self.files.loaded_by(candidate)), "definition": definition.model_dump()}
        (feeds,) = feeds_for(definition, [self.workload.calls[number][0]])
        fault = partial(self.workload.fault, definition, number, lossy=candidate.lossy)
        return Target(JOB, arguments, feeds, fault)

    def _keep(self, candidate: Candidate, figure: Figures, samples: Samples) -> None:
        if figure.failure is not None:
            drop(candidate, figure.failure)
        else:
            samples.append(figure.repetitions)


def _alive(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.alive]


def drop(candidate: Candidate, reason: str) -> None:
    """Take a candidate out of the search, which is known to be no better."""
    candidate.outcome, candidate.reason = "dropped", reason


def leave_out(candidate: Candidate, reason: str) -> None:
    """Take a candidate out of the search, of which nothing is known for want of time."""
    candidate.outcome, candidate.reason = "not measured", reason
