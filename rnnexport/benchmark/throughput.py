"""As many series per second as the machine gives: ever larger batches, until they no longer pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rnnexport.arguments.options import with_arguments
from rnnexport.benchmark.fixed_sizes import fixes_the_batch, shapes_for
from rnnexport.benchmark.interleaving import Effort
from rnnexport.benchmark.options import ThroughputOptions
from rnnexport.benchmark.results import BenchReport, ConditionsWatch, Measurement
from rnnexport.benchmark.targets import Prepared, measure_shape
from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.engines.contract import Definition
from rnnexport.parity.grid import CaseShape
from rnnexport.runtime.definitions import RuntimeStatus, choose_runtimes
from rnnexport.versions import tool_versions

GROWTH = 0.05
"""What doubling the batch must add to the series per second to be worth another doubling."""


def throughput_with(options: ThroughputOptions) -> BenchReport:
    """Measure batches of 1, 2, 4 … until a doubling no longer gives 5 % more series per second.

    A bundle that fixes its batch is measured at that one.

    Every bundle and runtime stops where it stops growing; the rows of all batches are kept, and `BenchReport.best`
    names the best. `bench-throughput.json` is written into each bundle.

    Raises:
        BundleError: A bundle is missing or damaged.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    watch = ConditionsWatch()
    definitions, not_usable = choose_runtimes(options.runtimes)
    rows: list[Measurement] = []
    for bundle in [load_bundle(Path(path)) for path in options.bundles or reference_bundles()]:
        own: list[Measurement] = []
        growing = list(definitions)
        (smallest,) = shapes_for(bundle, (), () if options.time_steps is None else (options.time_steps,))
        batch_size, largest = smallest.batch_size, options.largest_batch
        if fixes_the_batch(bundle):
            largest = batch_size
        while growing and batch_size <= largest:
            options.on_progress(f"{bundle.path.name} with batches of {batch_size}")
            own += _measure(bundle, growing, replace(smallest, batch_size=batch_size), options)
            growing = [definition for definition in growing if _grows(own, definition)]
            report = _report(own, options.seconds, not_usable, watch)
            bundle.write_evidence("bench-throughput.json", report.model_dump(mode="json"))
            batch_size *= 2
        rows += sorted(own, key=lambda row: row.definition.name)
    return _report(rows, options.seconds, not_usable, watch)


throughput = with_arguments(ThroughputOptions, throughput_with, "throughput")


def _report(
    rows: list[Measurement], seconds: float, not_usable: list[RuntimeStatus], watch: ConditionsWatch
) -> BenchReport:
    return BenchReport(
        scenario="throughput",
        seconds=seconds,
        measurements=rows,
        not_usable=not_usable,
        conditions=watch.conditions(),
        versions=tool_versions(),
    )


def _measure(
    bundle: Bundle, definitions: Sequence[Definition], shape: CaseShape, options: ThroughputOptions
) -> list[Measurement]:
    effort = Effort(options.seconds, options.repetitions, time_limit_seconds=options.time_limit_seconds)
    return measure_shape([Prepared.make(bundle, [shape], options.seed)], definitions, shape, effort)


def _grows(rows: Sequence[Measurement], definition: Definition) -> bool:
    """Whether the last batch gave more than all before it by 5 %."""
    *before, last = [row.series_per_second for row in rows if row.definition == definition]
    return last is not None and last > (1 + GROWTH) * max((rate or 0 for rate in before), default=0)
