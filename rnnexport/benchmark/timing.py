"""The clock: the worker job that times one model in one runtime in a fresh process.

What lies inside the timed region is one call of the function that `Session.bind` returned: the model's computation and
whatever the engine cannot do ahead. Warm-up lasts by time and by count, because a runtime may choose its kernels, grow
its arena or raise the clock frequency during the first calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.worker import Arrays, Extras, peak_memory_bytes

WARMUP_SECONDS = 0.2
WARMUP_RUNS = 10
MINIMUM_RUNS = 10


def timing_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: load a model, then time each case; gives the last call's outputs, and the samples in the extras.

    `arguments` holds `model` (path), `definition` (as JSON) and `seconds` (how long to measure each case).
    """
    definition = Definition(**arguments["definition"])
    engine = get_engine(definition.engine)
    engine.available(definition)  # imports the library, which is no part of loading a model
    started = time.perf_counter_ns()
    session = engine.load(Path(arguments["model"]), definition)
    load_ns = time.perf_counter_ns() - started
    for feeds in cases:
        started = time.perf_counter_ns()
        session.run(feeds)
        first_call_ns = time.perf_counter_ns() - started
        call = session.bind(feeds)
        _repeat(call, WARMUP_SECONDS, WARMUP_RUNS)
        samples = _repeat(call, arguments["seconds"], MINIMUM_RUNS)
        outputs = {name: np.array(array) for name, array in call().items()}
        yield (
            outputs,
            {
                "load_ns": load_ns,
                "first_call_ns": first_call_ns,
                "samples_ns": samples,
                "peak_memory_bytes": peak_memory_bytes(),
            },
        )


def _repeat(call: Callable[[], object], seconds: float, least_runs: int) -> list[int]:
    """Call until both `seconds` and `least_runs` are reached; return each call's nanoseconds."""
    samples: list[int] = []
    end = time.perf_counter_ns() + int(seconds * 1e9)
    before = time.perf_counter_ns()
    while before < end or len(samples) < least_runs:
        call()
        after = time.perf_counter_ns()
        samples.append(after - before)
        before = after
    return samples
