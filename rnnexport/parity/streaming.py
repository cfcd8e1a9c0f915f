"""Does a series fed in chunks, with the states carried, give what the whole series gives?

1. Every series is fed whole, one step at a time, in chunks of drawn sizes, and in chunks with other streams in the same
   batch that take turns: a stream that is idle gets values it must not see, and keeps its states.
2. All of that runs on one session, each series from fresh states, so it also shows that a reset forgets.
3. An output with the time dimension is joined from its chunks; of any other, and of the states, the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.chunks import ChunkFeeder, fresh_states, sizes
from rnnexport.bundle.manifest import Manifest, StepGraphInfo, TensorInfo
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds, Session
from rnnexport.parity.grid import Case
from rnnexport.runtime.worker import Arrays, CaseResult, Extras, run_job

Schedule = NDArray[np.int64]
"""One row per call: the chunk's number of time steps, then 1 for each stream that is fed and 0 for an idle one."""
WHOLE = "streamed whole"
_MOST_CALLS = 64


@dataclass(frozen=True)
class ChunkedSeries:
    """A series and how it is cut into calls."""

    case: str
    how: str
    feeds: Feeds
    schedule: Schedule

    @property
    def name(self) -> str:
        """Such as `batch=1 time=29, chunks of 1`."""
        return f"{self.case}, {self.how}"


def whole_series(manifest: Manifest, cases: Sequence[Case]) -> list[int]:
    """Return the numbers of the calls in which every row fills the time axis: a step graph knows no padding."""
    assert manifest.step is not None
    lengths = [info.name for info in manifest.inputs if info.role == "lengths"]
    return [
        number
        for number, case in enumerate(cases)
        if all(np.all(case.feeds[name] == sizes(manifest.step, case.feeds)[1]) for name in lengths)
    ]


def draw_streams(manifest: Manifest, case: Case, seed: int = 0) -> list[ChunkedSeries]:
    """Cut one batch of whole series into calls, in every way of this module's first rule; `whole` comes first."""
    assert manifest.step is not None
    generator = np.random.default_rng(seed)
    taken = {info.name for info in manifest.step.inputs}
    feeds = {name: array for name, array in case.feeds.items() if name in taken}
    streams, time_steps = sizes(manifest.step, feeds)
    chunk = -(-time_steps // _MOST_CALLS)
    chunkings = {
        WHOLE: [time_steps],
        f"in chunks of {chunk}": _cut(time_steps, lambda: chunk),
        "in drawn chunks": _cut(time_steps, lambda: int(generator.integers(1, max(2, time_steps // 2)))),
    }
    drawn = [
        ChunkedSeries(case.name, how, feeds, np.array([[size] + [1] * streams for size in steps]))
        for how, steps in chunkings.items()
    ]
    if streams > 1:
        turns = _taking_turns(streams, time_steps, generator)
        drawn.append(ChunkedSeries(case.name, "taking turns", feeds, turns))
    return drawn


def _cut(time_steps: int, draw: Any) -> list[int]:
    cuts: list[int] = []
    while (rest := time_steps - sum(cuts)) > 0:
        cuts.append(min(rest, draw()))
    return cuts


def _taking_turns(streams: int, time_steps: int, generator: np.random.Generator) -> Schedule:
    rest, calls = np.full(streams, time_steps), []
    while rest.any():
        fed = (rest > 0) & (generator.random(streams) < 0.6)
        if fed.any():
            size = int(generator.integers(1, min(int(rest[fed].min()), 1 + time_steps // 4) + 1))
            calls.append([size, *fed.astype(int)])
            rest[fed] -= size
    return np.array(calls)


def run_streams(
    path: Path, manifest: Manifest, definition: Definition, streams: Sequence[ChunkedSeries]
) -> Iterator[CaseResult]:
    """Run the step graph at `path` over each stream, in one process of its own; results as the sequence graph's."""
    assert manifest.step is not None
    arguments = {
        "model": str(path),
        "definition": definition.model_dump(),
        "step": manifest.step.model_dump(),
        "state_pairs": manifest.state_pairs,
    }
    cases = [{"schedule": stream.schedule, **{f"x/{n}": a for n, a in stream.feeds.items()}} for stream in streams]
    return run_job("rnnexport.parity.streaming:stream_job", arguments, cases)


def stream_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: one session, every case a stream."""
    definition = Definition(**arguments["definition"])
    session = get_engine(definition.engine).load(Path(arguments["model"]), definition)
    step = StepGraphInfo.model_validate(arguments["step"])
    pairs = [(before, after) for before, after in arguments["state_pairs"]]
    for case in cases:
        feeds = {name.removeprefix("x/"): array for name, array in case.items() if name.startswith("x/")}
        yield _SeriesRun(session, step, dict(pairs), feeds).all_calls(case["schedule"]), {}


class _SeriesRun:
    """One series, from fresh states to its end."""

    def __init__(self, session: Session, step: StepGraphInfo, pairs: Mapping[str, str], feeds: Feeds) -> None:
        self.step, self.pairs, self.feeds = step, pairs, feeds
        self.streams, self.time_steps = sizes(step, feeds)
        fresh = fresh_states(step, pairs, self.streams)
        self.feed = ChunkFeeder(session, pairs, {name: feeds.get(name, zeros) for name, zeros in fresh.items()})
        self.outputs: Arrays = {}
        self.position = np.zeros(self.streams, int)

    def all_calls(self, schedule: Schedule) -> Arrays:
        for size, *fed in schedule:
            rows = np.flatnonzero(fed)
            before = self.feed.states
            results = self.feed(self.chunks(int(size), rows))
            for info in self.step.outputs:
                if info.name not in self.pairs.values():
                    self.keep(info, results[info.name], rows)
            after = self.feed.states
            states = [info for info in self.step.inputs if info.name in self.pairs]
            self.feed.states = {i.name: self.merged(i, before[i.name], after[i.name], rows) for i in states}
            self.position[rows] += size
        return self.outputs | {output: self.feed.states[name] for name, output in self.pairs.items()}

    def chunks(self, size: int, rows: NDArray[np.int64]) -> Arrays:
        """The next `size` steps of each stream that is fed; an idle one gets its first steps again."""
        feeds = {}
        for info in self.step.inputs:
            if info.name in self.pairs or info.time_axis is None:
                continue
            whole = self.streams_first(info, self.feeds[info.name])
            starts = np.where(np.isin(np.arange(self.streams), rows), self.position, 0)
            pieces = [whole[i if len(whole) > 1 else 0, start : start + size] for i, start in enumerate(starts)]
            feeds[info.name] = self.as_declared(info, np.stack(pieces))
        whole_feeds = {i.name: self.feeds[i.name] for i in self.step.inputs if i.name not in {*feeds, *self.pairs}}
        return {**feeds, **whole_feeds}

    def keep(self, info: TensorInfo, result: NDArray[Any], rows: NDArray[np.int64]) -> None:
        if info.time_axis is None:
            self.outputs[info.name] = self.merged(info, self.outputs.get(info.name), result, rows)
            return
        chunk = self.streams_first(info, result)
        if info.name not in self.outputs:
            shape = list(result.shape)
            shape[info.time_axis] = self.time_steps
            self.outputs[info.name] = np.zeros(shape, result.dtype)
        whole = self.streams_first(info, self.outputs[info.name])  # a view
        for row in rows:
            whole[row, self.position[row] : self.position[row] + chunk.shape[1]] = chunk[row]

    def merged(
        self, info: TensorInfo, old: NDArray[Any] | None, new: NDArray[Any], rows: NDArray[np.int64]
    ) -> NDArray[Any]:
        """`old` with the rows of the streams that were fed taken from `new`."""
        if old is None or info.batch_axis is None:
            return new
        result = old.copy()
        np.moveaxis(result, info.batch_axis, 0)[rows] = np.moveaxis(new, info.batch_axis, 0)[rows]
        return result

    def streams_first(self, info: TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
        """A view [streams, time, …]; a tensor without streams is one."""
        assert info.time_axis is not None
        if info.batch_axis is None:
            return np.moveaxis(array, info.time_axis, 0)[None]
        return np.moveaxis(array, (info.batch_axis, info.time_axis), (0, 1))

    def as_declared(self, info: TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
        """The reverse of `streams_first`."""
        assert info.time_axis is not None
        if info.batch_axis is None:
            return np.ascontiguousarray(np.moveaxis(array[0], 0, info.time_axis))
        return np.ascontiguousarray(np.moveaxis(array, (0, 1), (info.batch_axis, info.time_axis)))
