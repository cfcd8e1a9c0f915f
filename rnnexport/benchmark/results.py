"""What a benchmark found: rows, the conditions under which they were taken, and the file that keeps them.

History of the schema
    1  first version
    2  samples by repetition and window, conditions
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any, Literal

from pydantic import BaseModel, Field, computed_field

from rnnexport.benchmark.analysis import Analysis
from rnnexport.benchmark.interleaving import Figures, Repetition
from rnnexport.benchmark.statistics import STABLE_TOLERANCE, is_stable, median_interval, percentile_ns, spread
from rnnexport.benchmark.verdicts import Verdict
from rnnexport.engines.contract import Definition
from rnnexport.errors import RuntimeUnavailableError
from rnnexport.results.result import Result
from rnnexport.runtime.definitions import RuntimeStatus

SCHEMA_VERSION = 2
BUSY_SHARE = 0.25
"""Load average for each core above which the machine counts as busy."""
_CLOCK_TOLERANCE_SECONDS = 0.5


class Measurement(BaseModel):
    """One model in one runtime at one shape."""

    bundle: str
    definition: Definition
    batch_size: int
    time_steps: int
    failure: str | None = None
    """What went wrong, so that there are no figures."""
    not_applicable: str | None = None
    """Why there was nothing to measure."""
    repetitions: list[Repetition] = []

    def with_figures(self, figures: Figures) -> Measurement:
        """This row with what was measured for it."""
        return self.model_copy(update={"repetitions": figures.repetitions, "failure": figures.failure})

    @property
    def name(self) -> str:
        """Bundle and runtime, such as `gru in ort-cpu`."""
        return f"{Path(self.bundle).name} in {self.definition.name}"

    @property
    def samples_ns(self) -> list[int]:
        """Nanoseconds per call of all repetitions, in the order of time."""
        return [sample for repetition in self.repetitions for window in repetition.windows_ns for sample in window]

    def latency_ns(self, percentile: float) -> int | None:
        """Latency of one call by nearest rank; `None` where the samples are too few."""
        return percentile_ns(self.samples_ns, percentile)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def median_ns(self) -> int | None:
        """The median call."""
        return self.latency_ns(50)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def median_interval_ns(self) -> tuple[float, float] | None:
        """The 95 % interval of the median."""
        windows = [window for repetition in self.repetitions for window in repetition.windows_ns]
        return median_interval(windows) if windows else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def series_per_second(self) -> float | None:
        """Batch size over the median latency."""
        return None if self.median_ns is None else self.batch_size * 1e9 / self.median_ns

    @computed_field  # type: ignore[prop-decorator]
    @property
    def stable(self) -> bool:
        """Whether the last windows of each repetition, and the repetitions, lie within 10 % of each other."""
        if not self.repetitions:
            return False
        steady = all(is_stable(repetition.medians_ns) for repetition in self.repetitions)
        return steady and spread([median(repetition.medians_ns) for repetition in self.repetitions]) <= STABLE_TOLERANCE

    @property
    def calls_per_sample(self) -> int:
        """The most calls whose mean is one sample, of all repetitions."""
        return max((repetition.calls_per_sample for repetition in self.repetitions), default=1)

    @property
    def load_ns(self) -> float | None:
        """Mean time to load the model in a fresh process."""
        return _mean([repetition.load_ns for repetition in self.repetitions])

    @property
    def first_call_ns(self) -> float | None:
        """Mean time of the first call."""
        return _mean([repetition.first_call_ns for repetition in self.repetitions])

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most memory that a process took, the runtime's library included."""
        return max((r.peak_memory_bytes for r in self.repetitions if r.peak_memory_bytes), default=None)


def _mean(values: list[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


class Conditions(BaseModel):
    """What else may have influenced the figures."""

    machine: str
    """The processor's name."""
    cores: int
    """Those that this process may use."""
    load_average: float
    """Processes that were running or waiting to, on the average of the minute before the start."""
    clock_jump_seconds: float = 0.0
    """How far the system's clock was set during the run; latencies come from the monotonic clock, which is never."""

    @property
    def notes(self) -> list[str]:
        """Sentences for people, where something was amiss."""
        notes = []
        if self.load_average > BUSY_SHARE * self.cores:
            notes.append(
                f"the machine was busy before the start: load average {self.load_average:.2f} on {self.cores} cores; "
                "figures may be too high and unsteady"
            )
        if abs(self.clock_jump_seconds) > _CLOCK_TOLERANCE_SECONDS:
            notes.append(
                f"the system's clock moved by {self.clock_jump_seconds:+.1f} s against the monotonic one during the "
                "run: it was set, or the machine slept; latencies are from the monotonic clock"
            )
        return notes


class ConditionsWatch:
    """Takes note of the conditions from when it is made."""

    def __init__(self) -> None:
        self._load_average = os.getloadavg()[0]
        self._offset = time.time() - time.monotonic()

    def conditions(self) -> Conditions:
        """The conditions up to now."""
        return Conditions(
            machine=_processor(),
            cores=len(os.sched_getaffinity(0)),
            load_average=self._load_average,
            clock_jump_seconds=round(time.time() - time.monotonic() - self._offset, 3),
        )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class RowComparison(BaseModel):
    """A row beside the one that it is compared with."""

    before: str
    """Bundle and runtime of the row that is the baseline; empty where there is none."""
    after: str
    batch_size: int
    time_steps: int
    verdict: Verdict


class BenchReport(Result):
    """What `rnnexport bench` measured."""

    schema_version: Literal[2] = 2
    scenario: Literal["latency", "throughput"] = "latency"
    timed_region: str = "one call with inputs prepared: the model and whatever copies the engine cannot avoid"
    seconds: float
    measurements: list[Measurement]
    not_usable: list[RuntimeStatus]
    conditions: Conditions
    comparisons: list[RowComparison] = Field(default_factory=list)
    fail_over: float | None = None
    """The share by which a compared row may be slower; beyond, the status is 1. `None`: any."""
    analysis: Analysis = Analysis()
    notes: tuple[str, ...] = ()
    """What the rows do not say of themselves."""
    versions: dict[str, str]

    def records(self) -> list[dict[str, Any]]:
        """A row for each measurement, in nanoseconds and bytes."""
        return [
            {
                "bundle": row.bundle,
                "runtime": row.definition.name,
                "batch_size": row.batch_size,
                "time_steps": row.time_steps,
                "median_ns": row.median_ns,
                "median_low_ns": row.median_interval_ns[0] if row.median_interval_ns else None,
                "median_high_ns": row.median_interval_ns[1] if row.median_interval_ns else None,
                "p90_ns": row.latency_ns(90),
                "p99_ns": row.latency_ns(99),
                "series_per_second": row.series_per_second,
                "load_ns": row.load_ns,
                "first_call_ns": row.first_call_ns,
                "peak_memory_bytes": row.peak_memory_bytes,
                "stable": row.stable,
                "failure": row.failure or row.not_applicable,
            }
            for row in self.measurements
        ]

    def of(self, bundle: str) -> BenchReport:
        """The part about one bundle, named by its folder."""
        rows = [row for row in self.measurements if row.bundle == bundle]
        names = {row.name for row in rows}
        comparisons = [comparison for comparison in self.comparisons if comparison.after in names]
        kept = {"measurements": rows, "comparisons": comparisons, "analysis": self.analysis.of(bundle)}
        return self.model_copy(update=kept)

    @property
    def best(self) -> list[Measurement]:
        """Of each bundle and runtime the row with the most series per second."""
        best: dict[str, Measurement] = {}
        for row in self.measurements:
            rate = best[row.name].series_per_second if row.name in best else 0
            if (row.series_per_second or 0) > (rate or 0):
                best[row.name] = row
        return list(best.values())

    @property
    def regressions(self) -> list[RowComparison]:
        """Rows that are slower by more than is allowed."""
        if self.fail_over is None:
            return []
        limit = 1 + self.fail_over
        return [c for c in self.comparisons if c.verdict.outcome == "slower" and (c.verdict.ratio or 0) > limit]

    @property
    def exit_status(self) -> int:
        """0: every row has figures; 1: one has not, beats its bound or regressed; 3: one named is not usable."""
        if self.analysis.failed or self.regressions or any(measurement.failure for measurement in self.measurements):
            return 1
        return RuntimeUnavailableError.exit_status if self.not_usable else 0
