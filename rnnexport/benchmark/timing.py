"""The clock: the worker job that times one model in one runtime at one shape, in a fresh process.

1. What lies inside the timed region is the function that `Session.bind` returned: the model's computation and whatever
   the engine cannot do ahead.
2. Warm-up lasts by time and by count, because a runtime may choose its kernels, grow its arena or raise the clock
   frequency during the first calls. Where calls take long, three seconds of them are enough.
3. Where reading the clock would be more than 1 % of a call, a sample is the mean of several calls.
4. Before and after each window a fixed piece of work is timed, the *pulse*: it tells how fast the machine itself was.
5. Every case of the job is one window of samples; between two windows the process sleeps while others are measured.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds, Session
from rnnexport.runtime.worker import Arrays, Extras, peak_memory_bytes

JOB = "rnnexport.benchmark.timing:timing_job"
WARMUP_SECONDS = 0.2
WARMUP_RUNS = 10
_LONGEST_WARMUP_SECONDS = 3
_REWARM_RUNS = 2  # what ran meanwhile took the caches,
_REWARM_BELOW_NS = 50_000_000  # which does not show in a longer call
_CLOCK_SHARE = 0.01
_CLOCK_READS = 1000
_PULSE_RUNS = 9


def timing_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: load a model, then time one window for each case; all cases are the same feeds.

    Gives the last call's outputs, and `samples_ns` in the extras. `arguments` holds `model` (path), `definition` (as
    JSON) and `window_seconds`.
    """
    session, load_ns = timed_load(arguments)
    yield from time_windows(session.bind, session.run, cases, arguments["window_seconds"], {"load_ns": load_ns})


def timed_load(arguments: dict[str, Any]) -> tuple[Session, int]:
    """Load `arguments["model"]` as `arguments["definition"]` says; the session, and how long that took."""
    definition = Definition(**arguments["definition"])
    engine = get_engine(definition.engine)
    engine.available(definition)  # imports the library, which is no part of loading a model
    started = time.perf_counter_ns()
    session = engine.load(Path(arguments["model"]), definition)
    return session, time.perf_counter_ns() - started


def time_windows(
    bind: Callable[[Feeds], Callable[[], Arrays]],
    run: Callable[[Feeds], object],
    cases: Iterator[Feeds],
    window_seconds: float,
    extras: Extras,
) -> Iterator[tuple[Arrays, Extras]]:
    """Time one window for each case; `bind` gives the function whose calls are timed, `run` is the first call."""
    feeds = next(cases)
    started = time.perf_counter_ns()
    run(feeds)
    extras = {**extras, "first_call_ns": time.perf_counter_ns() - started}
    call = bind(feeds)
    warm = repeat(call, WARMUP_SECONDS, WARMUP_RUNS, most_seconds=_LONGEST_WARMUP_SECONDS)
    typical_ns = float(np.median(warm))
    calls_per_sample = math.ceil(clock_ns() / (_CLOCK_SHARE * typical_ns))
    rewarm_runs = _REWARM_RUNS if typical_ns < _REWARM_BELOW_NS else 0
    while True:
        before = pulse_ns()
        repeat(call, 0, rewarm_runs)
        samples = repeat(call, window_seconds, 1, calls_per_sample)
        pulse = max(before, pulse_ns())
        outputs = {name: np.array(array) for name, array in call().items()}
        figures = {"samples_ns": samples, "pulse_ns": pulse, "peak_memory_bytes": peak_memory_bytes()}
        yield outputs, {**extras, **figures, "calls_per_sample": calls_per_sample}
        if next(cases, None) is None:
            return


def repeat(
    call: Callable[[], object],
    seconds: float,
    least_samples: int,
    calls_per_sample: int = 1,
    most_seconds: float = math.inf,
) -> list[int]:
    """Call until both `seconds` and `least_samples` are reached, or `most_seconds`; nanoseconds per call of each."""
    samples: list[int] = []
    collects = gc.isenabled()
    gc.disable()  # a collection is no part of the model
    try:
        before = time.perf_counter_ns()
        end, last = before + seconds * 1e9, before + most_seconds * 1e9
        while (before < end or len(samples) < least_samples) and before < last:
            for _ in range(calls_per_sample):
                call()
            after = time.perf_counter_ns()
            samples.append((after - before) // calls_per_sample)
            before = after
    finally:
        if collects:
            gc.enable()
    return samples


def clock_ns() -> float:
    """What one sample costs beside the call: reading the clock and keeping the figure."""
    return float(np.median(repeat(lambda: None, 0, _CLOCK_READS)))


def pulse_ns() -> float:
    """How long the machine takes for a fixed piece of work of one thread: some 50 µs of integer sums."""
    return float(np.median(repeat(lambda: sum(range(5000)), 0, _PULSE_RUNS)))
