"""Latency of bundles in runtimes, of right answers only.

Each runtime is measured in a fresh process. What the timed calls returned is compared with the float64 reference by the
rules of `verify`: a wrong answer has no latency, so its row carries the fault and no figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from rnnexport.benchmark.analysis import Analysis, analyse
from rnnexport.benchmark.statistics import is_stable, percentile_ns
from rnnexport.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import RuntimeUnavailableError
from rnnexport.parity.compare import Reference, compare
from rnnexport.parity.grid import CaseShape, draw_feeds
from rnnexport.parity.oracle import feeds_for, references
from rnnexport.parity.verify import tolerance_for
from rnnexport.runtime import RuntimeStatus, choose_runtimes
from rnnexport.versions import tool_versions
from rnnexport.worker import CaseResult, run_job

DEFAULT_SECONDS = 3.0


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
    samples_ns: list[int] = []
    load_ns: int | None = None
    first_call_ns: int | None = None
    peak_memory_bytes: int | None = None
    """Of the whole process, the runtime's library included."""

    def latency_ns(self, percentile: float) -> int | None:
        """Latency of one call by nearest rank; `None` where the samples are too few."""
        return percentile_ns(self.samples_ns, percentile) if self.samples_ns else None

    @property
    def series_per_second(self) -> float | None:
        """Batch size over the median latency."""
        median = self.latency_ns(50)
        return None if median is None else self.batch_size * 1e9 / median

    @property
    def stable(self) -> bool:
        """Whether the figure held still while it was taken."""
        return is_stable(self.samples_ns)


class BenchReport(BaseModel):
    """What `rnnexport bench` measured."""

    schema_version: Literal[1] = 1
    timed_region: str = "one call with inputs prepared: the model and whatever copies the engine cannot avoid"
    seconds: float
    measurements: list[Measurement]
    not_usable: list[RuntimeStatus]
    analysis: Analysis = Analysis()
    versions: dict[str, str]

    @property
    def exit_status(self) -> int:
        """0: every row has figures; 1: one has not, or beats its bound; 3: a runtime that was named is not usable."""
        if self.analysis.failed or any(measurement.failure for measurement in self.measurements):
            return 1
        return RuntimeUnavailableError.exit_status if self.not_usable else 0


def bench(
    bundles: Sequence[str | Path] = (),
    runtimes: Sequence[str | Path] = (),
    *,
    batch_sizes: Sequence[int] = (1,),
    time_steps: Sequence[int] = (25,),
    seconds: float = DEFAULT_SECONDS,
    seed: int = 0,
    roofline: bool = False,
    profile: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Measure every bundle in every runtime at every shape, and write `bench.json` into each bundle.

    Without `bundles` the two reference bundles are measured, without `runtimes` every usable float32 one. `seconds` is
    how long each row is measured after its warm-up. `roofline` and `profile` ask for what `analysis` holds, which is no
    part of `bench.json`. `on_progress` is told what is measured next.

    Raises:
        BundleError: A bundle is missing or damaged.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    opened = [load_bundle(Path(path)) for path in bundles or reference_bundles()]
    definitions, not_usable = choose_runtimes(runtimes)
    shapes = [CaseShape(b, t, from_series=True, mixed_lengths=False) for b in batch_sizes for t in time_steps]
    measurements: list[Measurement] = []
    for bundle in opened:
        generator = np.random.default_rng(seed)
        cases = [draw_feeds(bundle.manifest.inputs, bundle.series, shape, generator) for shape in shapes]
        expected = references(bundle, cases)
        rows: list[Measurement] = []
        for definition in definitions:
            on_progress(f"{bundle.path.name} in {definition.name}")
            rows += _measure(bundle, definition, shapes, cases, expected, seconds)
        bundle.write_evidence("bench.json", _report(seconds, rows, not_usable).model_dump(mode="json"))
        measurements += rows
    report = _report(seconds, measurements, not_usable)
    report.analysis = analyse(measurements, roofline=roofline, profile=profile, seed=seed, on_progress=on_progress)
    return report


def _report(seconds: float, measurements: list[Measurement], not_usable: list[RuntimeStatus]) -> BenchReport:
    return BenchReport(seconds=seconds, measurements=measurements, not_usable=not_usable, versions=tool_versions())


def _measure(
    bundle: Bundle,
    definition: Definition,
    shapes: Sequence[CaseShape],
    cases: Sequence[Feeds],
    expected: Sequence[dict[str, Reference]],
    seconds: float,
) -> list[Measurement]:
    if reason := bundle.why_not_applicable(definition):
        return [_row(bundle, definition, shape, not_applicable=reason) for shape in shapes]
    arguments = {
        "model": str(bundle.file_for(definition)),
        "definition": definition.model_dump(),
        "seconds": seconds,
    }
    results = run_job("rnnexport.benchmark.timing:timing_job", arguments, feeds_for(definition, cases))
    return [
        _measurement(bundle, definition, shape, result, reference)
        for shape, result, reference in zip(shapes, results, expected, strict=True)
    ]


def _measurement(
    bundle: Bundle, definition: Definition, shape: CaseShape, result: CaseResult, reference: dict[str, Reference]
) -> Measurement:
    failure = _fault(bundle, definition, result, reference)
    figures = {} if failure else result.extras
    return _row(bundle, definition, shape, failure=failure, **figures)


def _row(bundle: Bundle, definition: Definition, shape: CaseShape, **content: Any) -> Measurement:
    return Measurement(
        bundle=str(bundle.path),
        definition=definition,
        batch_size=shape.batch_size,
        time_steps=shape.time_steps,
        **content,
    )


def _fault(bundle: Bundle, definition: Definition, result: CaseResult, reference: dict[str, Reference]) -> str | None:
    """Say what is wrong with the answer of the timed calls, or `None`."""
    if result.failure is not None:
        return result.failure.message
    tolerance = tolerance_for(bundle, definition.precision)
    comparisons = [compare(name, result.outputs[name], ref, tolerance) for name, ref in reference.items()]
    wrong = [f"output {c.output!r} {c.reason}" for c in comparisons if not c.passed]
    return f"wrong answer: {wrong[0]}" if wrong else None
