"""Requests that come when they like, and wait for their answer.

1. Arrivals are a Poisson process, drawn before the start: a slow answer does not keep the next request from coming.
2. One worker answers; requests that wait may share a call, up to `max_batch_size`, and the first of them waits for
   others no longer than `max_wait`.
3. Latency counts from when a request was due to come, so that waiting in line is part of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from rnnexport.benchmark.fixed_sizes import shapes_for
from rnnexport.benchmark.options import ServerOptions
from rnnexport.benchmark.scenarios import ScenarioRow, batch_axes, check, pack, percentiles, run_one, unpack
from rnnexport.benchmark.statistics import LEAST_SAMPLES
from rnnexport.benchmark.timing import WARMUP_RUNS, WARMUP_SECONDS, repeat, timed_load
from rnnexport.bundle.bundle import Bundle
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition, Feeds, Session
from rnnexport.errors import InputError
from rnnexport.parity.grid import draw_feeds
from rnnexport.parity.oracle import feeds_for, references
from rnnexport.runtime.worker import Arrays, Extras

_REQUESTS = 32
"""Different ones, asked again and again."""
_HALVINGS = 4
_MOST_TRIALS = 12
_LONGEST_TRIAL_SECONDS = 60
"""Rates at which the requests for a p99 take longer to come are not tried."""


class Trial(BaseModel):
    """One rate of arrivals."""

    rate: float
    """Requests per second."""
    answered: int
    p50_ns: int | None
    p99_ns: int | None
    mean_batch_size: float
    busy: float
    """Share of the time in which a call was running."""
    ended_early: bool = False
    """More than one in a hundred had been late, so the limit could no longer be held."""


class ServerRow(ScenarioRow):
    """Latency from arrival to answer."""

    best: Trial | None = None
    """At the rate asked for, or at the highest that held the limit."""
    trials: list[Trial] = Field(default_factory=list)


@dataclass(frozen=True)
class Server(ServerOptions):
    """The scenario with its options."""

    name: Literal["server"] = field(default="server", init=False)
    timed_region: str = field(
        default="from arrival to answer: waiting in line, joining requests to a batch, the call, splitting it again",
        init=False,
    )

    def check(self, bundle: Bundle) -> None:
        """Refuse a bundle whose requests cannot be joined, where they are to be."""
        inputs = bundle.manifest.inputs
        axes = batch_axes(inputs, inputs)
        if self.max_batch_size > 1 and any(info.name not in axes for info in inputs):
            raise InputError(f"bundle {str(bundle.path)!r} has inputs without a batch, so requests cannot be joined")

    def measure(self, bundle: Bundle, definition: Definition) -> ServerRow:
        """Measure in one fresh process."""
        inputs = bundle.manifest.inputs
        axes = batch_axes(inputs, (*inputs, *bundle.manifest.outputs))
        if reads_source(definition):
            axes = {**axes, "lengths": 0}
        (shape,) = shapes_for(bundle, (), () if self.time_steps is None else (self.time_steps,))
        generator = np.random.default_rng(self.seed)
        requests = [draw_feeds(inputs, bundle.series, shape, generator) for _ in range(_REQUESTS)]
        expected = references(bundle, requests)
        arguments = {
            "model": str(bundle.file_for(definition)),
            "definition": definition.model_dump(),
            "axes": axes,
            "rate": self.rate,
            "limit_ns": None if self.p99_limit_ms is None else self.p99_limit_ms * 1e6,
            "max_batch_size": self.max_batch_size,
            "max_wait_ns": self.max_wait_ms * 1e6,
            "seconds": self.seconds,
            "seed": self.seed,
        }
        case = pack(feeds_for(definition, requests))
        result = run_one("rnnexport.benchmark.server:server_job", arguments, case, self.time_limit_seconds)
        for outputs, reference in zip(unpack(result.outputs), expected, strict=True):
            check(bundle, definition, reference, outputs)
        return ServerRow(bundle=str(bundle.path), definition=definition, **result.extras)


def server_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: the trials, and the last answer to each request."""
    session, _ = timed_load(arguments)
    for case in cases:
        server = _Server(session, unpack(case), arguments)
        trials = [server.trial(arguments["rate"])] if arguments["rate"] else server.search()
        held = trials if arguments["rate"] else [trial for trial in trials if server.holds(trial)]
        best = max(held, key=lambda trial: trial.rate, default=None)
        extras = {"best": best.model_dump() if best else None, "trials": [trial.model_dump() for trial in trials]}
        yield pack([server.answers[number] for number in sorted(server.answers)]), extras


class _Server:
    def __init__(self, session: Session, requests: Sequence[Feeds], arguments: Mapping[str, Any]) -> None:
        self.session, self.requests, self.axes = session, requests, arguments["axes"]
        self.max_batch_size, self.max_wait = arguments["max_batch_size"], arguments["max_wait_ns"]
        self.seconds, self.limit = arguments["seconds"], arguments["limit_ns"]
        self.generator = np.random.default_rng(arguments["seed"])
        self.answers: dict[int, Arrays] = {}
        for number in range(len(requests)):
            self.answer([number])
        for size in range(1, self.max_batch_size + 1):  # so that no size is new
            self.answer([number % len(requests) for number in range(size)])
        warm = repeat(lambda: self.answer([0]), WARMUP_SECONDS, WARMUP_RUNS)
        self.alone = float(np.median(warm))

    def answer(self, numbers: Sequence[int]) -> None:
        """Answer these requests in one call."""
        feeds = {name: self.join(name, numbers) for name in self.requests[0]}
        outputs = self.session.run(feeds)
        for row, number in enumerate(numbers):
            self.answers[number] = {name: self.part(name, array, row) for name, array in outputs.items()}

    def join(self, name: str, numbers: Sequence[int]) -> Any:
        if len(numbers) == 1:
            return self.requests[numbers[0]][name]
        return np.concatenate([self.requests[number][name] for number in numbers], axis=self.axes[name])

    def part(self, name: str, array: Any, row: int) -> Any:
        return array.take([row], axis=self.axes[name]) if name in self.axes else array

    def holds(self, trial: Trial) -> bool:
        return not trial.ended_early and trial.p99_ns is not None and trial.p99_ns <= self.limit

    def search(self) -> list[Trial]:
        """Double the rate until the limit is passed, then halve the gap a few times."""
        trials = [self.trial(0.25e9 / self.alone)]
        factor = 2.0 if self.holds(trials[0]) else 0.5
        slowest = LEAST_SAMPLES[99] / _LONGEST_TRIAL_SECONDS
        while self.holds(trials[-1]) == (factor > 1) and len(trials) < _MOST_TRIALS:
            if (rate := trials[-1].rate * factor) < slowest:
                break
            trials.append(self.trial(rate))
        held = [trial.rate for trial in trials if self.holds(trial)]
        missed = [trial.rate for trial in trials if not self.holds(trial)]
        for _ in range(_HALVINGS if held and missed else 0):
            middle = (max(held) * min(missed)) ** 0.5
            trials.append(self.trial(middle))
            (held if self.holds(trials[-1]) else missed).append(middle)
        return trials

    def trial(self, rate: float) -> Trial:
        """Answer requests that come at `rate` per second."""
        count = max(LEAST_SAMPLES[99], int(rate * self.seconds))
        arrivals = np.cumsum(self.generator.exponential(1e9 / rate, size=count)).astype(np.int64).tolist()
        waiting: deque[int] = deque()
        latencies: list[int] = []
        calls = busy = following = late = 0
        start = time.perf_counter_ns()
        while len(latencies) < count and late <= count / 100:
            now = time.perf_counter_ns() - start
            while following < count and arrivals[following] <= now:
                waiting.append(following)
                following += 1
            due = arrivals[waiting[0]] + self.max_wait if waiting else arrivals[following]
            if len(waiting) < self.max_batch_size and following < count and now < due:
                _wait_until(start + min(int(due), arrivals[following]))
                continue
            batch = [waiting.popleft() for _ in range(min(len(waiting), self.max_batch_size))]
            began = time.perf_counter_ns()
            self.answer([number % len(self.requests) for number in batch])
            ended = time.perf_counter_ns()
            calls, busy = calls + 1, busy + ended - began
            taken = [ended - start - arrivals[number] for number in batch]
            latencies += taken
            late += 0 if self.limit is None else sum(each > self.limit for each in taken)
        return Trial(
            rate=rate,
            answered=len(latencies),
            **percentiles(latencies),
            mean_batch_size=len(latencies) / calls,
            busy=busy / (time.perf_counter_ns() - start),
            ended_early=len(latencies) < count,
        )


def _wait_until(moment: int) -> None:
    """Sleep while it is far, then look at the clock again and again: a sleeper wakes late."""
    while (rest := moment - time.perf_counter_ns()) > 0:
        if rest > 2_000_000:
            time.sleep((rest - 1_000_000) / 1e9)
