"""Series that come chunk by chunk: how long a chunk takes, and how many streams keep up with their clock.

The caller carries the states: what a call gives is fed to the next. Streams share one call, as rows of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rnnexport.benchmark.options import StreamingOptions
from rnnexport.benchmark.scenarios import ScenarioRow, check, percentiles, run_one
from rnnexport.benchmark.statistics import LEAST_SAMPLES
from rnnexport.benchmark.timing import WARMUP_SECONDS, timed_load
from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.chunks import ChunkFeeder, cut, fresh_states, joined, sizes
from rnnexport.bundle.manifest import StepGraphInfo
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition, Feeds, Session
from rnnexport.errors import InputError
from rnnexport.parity.grid import CaseShape, draw_feeds
from rnnexport.parity.oracle import references
from rnnexport.runtime.worker import Arrays, Extras

_CHUNKS = 40
"""Of one series; then the states start afresh."""
_MOST_STREAMS = 4096


class StreamingRow(ScenarioRow):
    """Latency of chunks."""

    time_steps: int | None = None
    calls: int = 0
    p50_ns: int | None = None
    p99_ns: int | None = None
    steps_per_second: float | None = None
    """Of one stream, as fast as it goes."""
    real_time_factor: float | None = None
    """Computing time over the time that the chunk lasts, at the median; below 1 keeps up."""
    deadline_misses: float | None = None
    """Share of the chunks that took longer than they last."""
    streams: int | None = None
    """The most that fit in one call with a p99 below the time that the chunk lasts."""
    streams_tried: dict[int, int | None] = Field(default_factory=dict)
    """p99 in nanoseconds by number of streams."""


@dataclass(frozen=True)
class Streaming(StreamingOptions):
    """The scenario with its options."""

    name: Literal["streaming"] = field(default="streaming", init=False)
    timed_region: str = field(
        default="one call of the step graph with a chunk and the states as arrays in, and the new states as arrays out",
        init=False,
    )

    def check(self, bundle: Bundle) -> None:
        """Refuse a bundle without a step graph."""
        if bundle.manifest.step is None:
            raise InputError(f"bundle {str(bundle.path)!r} has no step graph; export it again with `streaming`")

    def measure(self, bundle: Bundle, definition: Definition) -> ScenarioRow:
        """Measure one stream, and where there is a rate, ever more of them."""
        names = {"bundle": str(bundle.path), "definition": definition}
        if reads_source(definition):
            return ScenarioRow(**names, not_applicable="n/a: the step graph is for runtimes that read ONNX")
        samples = self._samples(bundle, definition, 1)
        row = StreamingRow(**names, time_steps=self.time_steps, calls=len(samples), **percentiles(samples))
        if row.p50_ns is not None:
            row.steps_per_second = self.time_steps * 1e9 / row.p50_ns
        if self.rate is not None and row.p50_ns is not None:
            period = self.time_steps * 1e9 / self.rate
            row.real_time_factor = row.p50_ns / period
            row.deadline_misses = float((samples > period).mean())
            row.streams_tried = self._streams_tried(bundle, definition, row.p99_ns, period)
            fitting = [count for count, p99 in row.streams_tried.items() if p99 is not None and p99 <= period]
            row.streams = max(fitting, default=0)
        return row

    def _streams_tried(
        self, bundle: Bundle, definition: Definition, first: int | None, period: float
    ) -> dict[int, int | None]:
        """Double the number of streams until p99 passes the period, then halve the gap three times."""
        tried: dict[int, int | None] = {1: first}
        streams = 1
        while self._fits(tried[streams], period) and streams < _MOST_STREAMS:
            streams *= 2
            tried[streams] = self._p99(bundle, definition, streams)
        low, high = streams // 2, streams
        for _ in range(3):
            middle = (low + high) // 2
            if middle in (0, low) or self._fits(tried[high], period):
                break
            tried[middle] = self._p99(bundle, definition, middle)
            low, high = (middle, high) if self._fits(tried[middle], period) else (low, middle)
        return dict(sorted(tried.items()))

    def _fits(self, p99: int | None, period: float) -> bool:
        return p99 is not None and p99 <= period

    def _p99(self, bundle: Bundle, definition: Definition, streams: int) -> int | None:
        return percentiles(self._samples(bundle, definition, streams))["p99_ns"]

    def _samples(self, bundle: Bundle, definition: Definition, streams: int) -> NDArray[np.int64]:
        """Nanoseconds of each chunk, from a fresh process; what it answered is right."""
        step = bundle.manifest.step
        assert step is not None
        shape = CaseShape(streams, self.time_steps * _CHUNKS, from_series=True, mixed_lengths=False)
        feeds = draw_feeds(bundle.manifest.inputs, bundle.series, shape, np.random.default_rng(self.seed))
        (expected,) = references(bundle, [feeds])
        taken = {info.name for info in step.inputs}
        arguments = {
            "model": str(bundle.step_path),
            "definition": definition.model_dump(),
            "step": step.model_dump(),
            "state_pairs": bundle.manifest.state_pairs,
            "time_steps": self.time_steps,
            "seconds": self.seconds,
            "period_ns": None if self.rate is None else self.time_steps * 1e9 / self.rate,
        }
        case = {name: array for name, array in feeds.items() if name in taken}
        result = run_one("rnnexport.benchmark.streaming:streaming_job", arguments, case, self.time_limit_seconds)
        check(bundle, definition, expected, {name: result.outputs[name] for name in expected})
        return np.array(result.extras["samples_ns"])


def streaming_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: feed the series of each case chunk by chunk until `seconds` are over; gives the first's outputs."""
    session, _ = timed_load(arguments)
    step = StepGraphInfo.model_validate(arguments["step"])
    for feeds in cases:
        stream = _Stream(session, step, dict(arguments["state_pairs"]), feeds, arguments["time_steps"])
        outputs = stream.whole_series([])
        _samples(stream, WARMUP_SECONDS, None)
        yield outputs, {"samples_ns": _samples(stream, arguments["seconds"], arguments["period_ns"])}


def _samples(stream: _Stream, seconds: float, period_ns: float | None) -> list[int]:
    """Feed series for so long; with a period until there are enough for a p99, or it can no longer hold."""
    samples: list[int] = []
    end = time.perf_counter() + seconds
    undecided = True
    while undecided or time.perf_counter() < end:
        stream.whole_series(samples)
        late = 0 if period_ns is None else sum(sample > period_ns for sample in samples)
        enough = LEAST_SAMPLES[99]
        undecided = period_ns is not None and len(samples) < enough and late <= enough / 100
    return samples


class _Stream:
    """A batch of series, cut into chunks."""

    def __init__(
        self, session: Session, step: StepGraphInfo, pairs: dict[str, str], feeds: Feeds, time_steps: int
    ) -> None:
        self.session, self.step, self.pairs = session, step, pairs
        streams, whole = sizes(step, feeds)
        series = {name: array for name, array in feeds.items() if name not in pairs}
        self.chunks = [cut(step, series, start, start + time_steps) for start in range(0, whole, time_steps)]
        self.fresh = {name: feeds.get(name, zeros) for name, zeros in fresh_states(step, pairs, streams).items()}

    def whole_series(self, samples: list[int]) -> Arrays:
        """Feed all chunks from fresh states; appends each one's nanoseconds to `samples`, returns joined outputs."""
        feed = ChunkFeeder(self.session, self.pairs, self.fresh)
        results: list[Arrays] = []
        for chunk in self.chunks:
            before = time.perf_counter_ns()
            result = feed(chunk)
            samples.append(time.perf_counter_ns() - before)
            results.append(result)
        return {info.name: joined(info, results) for info in self.step.outputs}
