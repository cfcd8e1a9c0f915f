"""Several targets measured side by side: their windows take turns, so that whatever the machine does meets them all.

1. A repetition is a fresh process for each target. All are alive at once, and one at a time works: the others are
   stopped, since idle threads of ONNX Runtime go on spinning for tens of milliseconds and would slow the next target.
2. In each round every target has one window, in an order that is drawn anew: what ran before has filled the caches.
3. Rounds go on until enough windows were undisturbed and the last ones agree, up to four times the time asked for.
4. A target that fails or answers wrong drops out with the reason; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, model_validator

from rnnexport.benchmark.statistics import is_stable
from rnnexport.engines.contract import Feeds
from rnnexport.runtime.worker import Arrays, CaseResult, run_job
from rnnexport.versions import available_memory

_WINDOWS = 10
"""Of one repetition, where a call is short against `seconds`."""
_UNDISTURBED_WINDOWS = 12
"""Of all repetitions, before a target counts as measured."""
_PULSE_TOLERANCE = 0.10
LONGEST = 4
"""How many times the time asked for a figure may take to become stable."""
_MOST_WINDOWS = LONGEST * _WINDOWS * 10
_MEMORY_SHARE = 0.9


class Repetition(BaseModel):
    """One process's part of a measurement."""

    windows_ns: list[list[int]]
    """Nanoseconds per call, in the order of time, window by window."""
    pulses_ns: list[float] = []
    """How long the machine took for a fixed piece of work, around each window: the slower of the two."""
    calls_per_sample: int = 1
    load_ns: int | None = None
    first_call_ns: int | None = None
    peak_memory_bytes: int | None = None
    """Of the whole process, the runtime's library included."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len(self.pulses_ns) != len(self.windows_ns) or not all(self.windows_ns):
            raise ValueError("each window has samples and a pulse")
        return self

    @property
    def medians_ns(self) -> list[float]:
        """Each window's median."""
        return [float(np.median(window)) for window in self.windows_ns]

    def undisturbed_medians_ns(self, lowest_pulse_ns: float) -> list[float]:
        """Medians of the windows around which the machine was as fast as it can be."""
        limit = (1 + _PULSE_TOLERANCE) * lowest_pulse_ns
        return [median for median, pulse in zip(self.medians_ns, self.pulses_ns, strict=True) if pulse <= limit]


def lowest_pulse(repetitions: Sequence[Repetition]) -> float:
    """The machine's pulse when nothing disturbs it: nearly the lowest, since one alone may be a freak."""
    return float(np.percentile([pulse for r in repetitions for pulse in r.pulses_ns], 5))


def lower_quartile_ns(repetitions: Sequence[Repetition]) -> float:
    """Nanoseconds of a call: of the windows' medians the lower quartile, since what others do only ever adds time."""
    return float(np.percentile([median for r in repetitions for median in r.medians_ns], 25))


@dataclass(frozen=True)
class Target:
    """What is measured, and what its answer should be."""

    job: str
    """A worker job made with `timing.time_windows`."""
    arguments: Mapping[str, Any]
    feeds: Feeds
    fault: Callable[[Arrays], str | None]
    """Says what is wrong with the outputs."""


@dataclass(frozen=True)
class Effort:
    """How much is spent on a figure."""

    seconds: float = 3.0
    """Timed calls of each target, all repetitions together."""
    repetitions: int = 2
    least_windows: int = 16
    """All repetitions together; with fewer, no difference is ever significant."""
    time_limit_seconds: float = 600
    """For loading, and for each window."""
    memory_limit_bytes: int | None = None
    """For each process; by default most of what is free."""


@dataclass
class Figures:
    """What became of a target."""

    repetitions: list[Repetition] = field(default_factory=list)
    failure: str | None = None


def measure_interleaved(targets: Sequence[Target], effort: Effort) -> list[Figures]:
    """Measure all targets side by side; one result for each, in order."""
    figures = [Figures() for _ in targets]
    memory_limit = effort.memory_limit_bytes or int(_MEMORY_SHARE * available_memory())
    for number in range(effort.repetitions):
        lanes = [
            _Lane(target, figure, effort, memory_limit)
            for target, figure in zip(targets, figures, strict=True)
            if figure.failure is None
        ]
        try:
            _run(lanes, effort, seed=number)
        finally:
            for lane in lanes:
                lane.close()
    return figures


class _Lane:
    """One target's process."""

    def __init__(self, target: Target, figures: Figures, effort: Effort, memory_limit: int) -> None:
        arguments = {**target.arguments, "window_seconds": effort.seconds / effort.repetitions / _WINDOWS}
        self._target, self._figures = target, figures
        self.repetition = Repetition(windows_ns=[])
        self._results: Iterator[CaseResult] = run_job(
            target.job,
            arguments,
            [target.feeds] * _MOST_WINDOWS,
            time_limit_seconds=effort.time_limit_seconds,
            memory_limit_bytes=memory_limit,
            pause=True,
        )

    @property
    def alive(self) -> bool:
        return self._figures.failure is None

    @property
    def timed_seconds(self) -> float:
        calls = self.repetition.calls_per_sample
        return sum(map(sum, self.repetition.windows_ns)) * calls / 1e9

    def window(self) -> None:
        result = next(self._results)
        fault = result.failure.message if result.failure else self._target.fault(result.outputs)
        if fault:
            self._figures.failure = fault
            self._figures.repetitions.clear()
            self.close()
            return
        extras = dict(result.extras)
        windows = [*self.repetition.windows_ns, extras.pop("samples_ns")]
        pulses = [*self.repetition.pulses_ns, extras.pop("pulse_ns")]
        self.repetition = Repetition(windows_ns=windows, pulses_ns=pulses, **extras)

    def close(self) -> None:
        """End the process, and hand over what it measured."""
        self._results.close()  # type: ignore[attr-defined]  # a generator
        if self.alive and self.repetition.windows_ns:
            self._figures.repetitions.append(self.repetition)


def _run(lanes: list[_Lane], effort: Effort, seed: int) -> None:
    for number in range(_MOST_WINDOWS):
        lanes = [lane for lane in lanes if lane.alive]
        if not lanes or _enough(lanes, effort):
            return
        for place in np.random.default_rng([seed, number]).permutation(len(lanes)):
            lanes[place].window()


def _enough(lanes: Sequence[_Lane], effort: Effort) -> bool:
    """Whether this repetition has the time and windows asked for, and is settled or has taken too long."""
    wanted = len(lanes) * effort.seconds / effort.repetitions
    timed = sum(lane.timed_seconds for lane in lanes)
    repetitions = [lane.repetition for lane in lanes]
    if timed < wanted or len(repetitions[0].windows_ns) * effort.repetitions < effort.least_windows:
        return False
    pulse = lowest_pulse(repetitions)
    settled = all(
        is_stable(repetition.medians_ns)
        and len(repetition.undisturbed_medians_ns(pulse)) * effort.repetitions >= _UNDISTURBED_WINDOWS
        for repetition in repetitions
    )
    return settled or timed >= LONGEST * wanted
