"""Series of the lengths that really come, one call after another.

A runtime may plan, compile or allocate anew for a length that it has not met, so a steady length tells too little.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rnnexport.benchmark.options import MixOptions
from rnnexport.benchmark.scenarios import ScenarioRow, check, pack, percentiles, run_one, unpack
from rnnexport.benchmark.timing import WARMUP_RUNS, WARMUP_SECONDS, repeat, timed_load
from rnnexport.bundle.bundle import Bundle
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import InputError
from rnnexport.files.regular_files import read_regular
from rnnexport.parity.grid import CaseShape, draw_feeds
from rnnexport.parity.oracle import feeds_for, references
from rnnexport.runtime.worker import Arrays, Extras

_CALLS = 128
"""Drawn calls, gone through again and again."""


class MixRow(ScenarioRow):
    """Latency over a mix of lengths."""

    calls: int
    lengths: tuple[int, float, int]
    """Shortest, mean and longest."""
    p50_ns: int | None
    p99_ns: int | None
    p50_new_length_ns: int | None
    """Calls of a length that the process had not met before."""
    p50_met_length_ns: int | None
    """All other calls."""
    series_per_second: float


@dataclass(frozen=True)
class Mix(MixOptions):
    """The scenario with its options."""

    name: Literal["mix"] = field(default="mix", init=False)
    timed_region: str = field(
        default="one call with arrays in and arrays out, checks and copies included, lengths drawn from the real ones",
        init=False,
    )

    def check(self, bundle: Bundle) -> None:
        """Refuse a bundle without series where no lengths are named."""
        if not self.lengths and not bundle.series:
            raise InputError(f"bundle {str(bundle.path)!r} keeps no series to take lengths from; name some")

    def measure(self, bundle: Bundle, definition: Definition) -> MixRow:
        """Measure in a fresh process for each repetition, since a length is new only once."""
        lengths = list(self.lengths) or [len(series) for series in bundle.series]
        generator = np.random.default_rng(self.seed)
        drawn = generator.choice(lengths, size=(_CALLS, self.batch_size))
        calls = [_draw(bundle, row, generator) for row in drawn]
        expected = references(bundle, calls)
        arguments = {
            "model": str(bundle.file_for(definition)),
            "definition": definition.model_dump(),
            "seconds": self.seconds / self.repetitions,
        }
        samples: list[int] = []
        new: list[bool] = []
        for _ in range(self.repetitions):
            case = pack(feeds_for(definition, calls))
            result = run_one("rnnexport.benchmark.mix:mix_job", arguments, case, self.time_limit_seconds)
            for outputs, reference in zip(unpack(result.outputs), expected, strict=True):
                check(bundle, definition, reference, outputs)
            samples += result.extras["samples_ns"]
            new += result.extras["new"]
        taken, is_new = np.array(samples), np.array(new)
        return MixRow(
            bundle=str(bundle.path),
            definition=definition,
            calls=len(samples),
            lengths=(min(lengths), float(np.mean(lengths)), max(lengths)),
            **percentiles(taken),
            p50_new_length_ns=percentiles(taken[is_new])["p50_ns"],
            p50_met_length_ns=percentiles(taken[~is_new])["p50_ns"],
            series_per_second=self.batch_size * 1e9 / float(taken.mean()),
        )


def _draw(bundle: Bundle, lengths: Sequence[int], generator: np.random.Generator) -> Feeds:
    """One call of series of these lengths, padded; a graph without lengths takes them all for full ones."""
    inputs = bundle.manifest.inputs
    shape = CaseShape(len(lengths), int(max(lengths)), from_series=True, mixed_lengths=False)
    feeds = dict(draw_feeds(inputs, bundle.series, shape, generator))
    counts = {info.name: np.asarray(lengths, info.dtype) for info in inputs if info.role == "lengths"}
    return {**feeds, **counts}


def mix_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: go through the packed calls until `seconds` are over; gives the first round's outputs."""
    session, _ = timed_load(arguments)
    for case in cases:
        calls = unpack(case)
        repeat(lambda first=calls[0]: session.run(first), WARMUP_SECONDS, WARMUP_RUNS)  # type: ignore[misc]
        met = {_shape(calls[0])}
        samples: list[int] = []
        new: list[bool] = []
        outputs: list[Arrays] = []
        end = time.perf_counter_ns() + int(arguments["seconds"] * 1e9)
        while len(samples) < len(calls) or time.perf_counter_ns() < end:
            feeds = calls[len(samples) % len(calls)]
            before = time.perf_counter_ns()
            answer = session.run(feeds)
            samples.append(time.perf_counter_ns() - before)
            new.append(_shape(feeds) not in met)
            met.add(_shape(feeds))
            if len(outputs) < len(calls):
                outputs.append(answer)
        yield pack(outputs), {"samples_ns": samples, "new": new}


def _shape(feeds: Feeds) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in feeds.values())


def read_lengths(path: Path) -> list[int]:
    """Read a file of whole numbers, separated by spaces, commas or line ends.

    Raises:
        InputError: It is missing or holds something else.
    """
    try:
        words = read_regular(path).decode("utf-8").replace(",", " ").split()
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InputError(f"{path} is no text file") from exc
    fits = re.compile(r"0*[1-9][0-9]{0,7}", re.ASCII).fullmatch  # a longer series fits into no memory
    if wrong := [word for word in words if not fits(word)]:
        raise InputError(f"{path}: {wrong[0]:.20} is no number of time steps; write whole numbers above 0")
    if not words:
        raise InputError(f"{path} is empty; write one number of time steps on each line")
    return [int(word) for word in words]
