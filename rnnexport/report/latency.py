"""Tables of a benchmark report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rnnexport.benchmark.results import BenchReport, Measurement, RowComparison
from rnnexport.report.numbers import duration, duration_within, rate, size


def latency_tables(report: BenchReport) -> list[Table | Text]:
    """One row per measurement in each table, then one line per fault."""
    latency = _table(
        f"latency of {report.timed_region}", ["median, 95 % interval", "p90", "p99", "series", "samples", ""]
    )
    processes = _table("processes", ["load", "first call", "peak memory"])
    for measurement in report.measurements:
        names = [Path(measurement.bundle).name, measurement.definition.name]
        shape = f"{measurement.batch_size} × {measurement.time_steps}"
        is_best = report.scenario == "throughput" and any(measurement is row for row in report.best)
        latency.add_row(*names, shape, *_latency(measurement), style="bold green" if is_best else None)
        processes.add_row(*names, shape, *_process(measurement))
    faults: list[Table | Text] = [
        Text(f"{m.definition.name}: batch={m.batch_size} time={m.time_steps}: {m.failure}", style="red")
        for m in report.measurements
        if m.failure
    ]
    reasons = dict.fromkeys(f"{m.definition.name}: {m.not_applicable}" for m in report.measurements if m.not_applicable)
    if report.scenario == "throughput":
        latency.caption = "green: the batch size with the most series per second"
    return [
        latency,
        processes,
        *([comparison_table(report.comparisons)] if report.comparisons else []),
        *faults,
        *map(Text, reasons),
        *map(Text, report.notes),
        *(Text(note, style="yellow") for note in report.conditions.notes),
        *(Text(str(missing.error()), style="yellow") for missing in report.not_usable),
    ]


def _table(title: str, headings: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ["bundle", "runtime", "batch × time", *headings]:
        table.add_column(heading, no_wrap=True)
    return table


_COLOURS = {"faster": "green", "slower": "red", "equivalent": "", "cannot tell": "yellow"}


def comparison_table(comparisons: Sequence[RowComparison]) -> Table:
    """One row for each row that was compared."""
    table = Table(title="compared in undisturbed windows", title_justify="left")
    for heading in ("row", "compared with", "batch × time", "latency", "95 % interval", "p", "verdict"):
        table.add_column(heading)
    for comparison in comparisons:
        verdict = comparison.verdict
        reason = f": {verdict.reason}" if verdict.reason else ""
        table.add_row(
            comparison.after,
            comparison.before or "-",
            f"{comparison.batch_size} × {comparison.time_steps}",
            "-" if verdict.ratio is None else f"× {verdict.ratio:.3f}",
            "-" if verdict.interval is None else f"{verdict.interval[0]:.3f}–{verdict.interval[1]:.3f}",
            "-" if verdict.p is None else f"{verdict.p:.1g}",
            Text(verdict.outcome + reason, style=_COLOURS[verdict.outcome]),
        )
    return table


def _latency(row: Measurement) -> list[str | Text]:
    note = Text("unstable", style="yellow")
    if row.failure:
        note = Text("no figure", style="red")
    elif row.not_applicable:
        note = Text("n/a")
    elif row.stable:
        note = Text()
    return [
        duration_within(row.median_ns, row.median_interval_ns),
        duration(row.latency_ns(90)),
        duration(row.latency_ns(99)),
        rate(row.series_per_second),
        _calls(row),
        note,
    ]


def _process(row: Measurement) -> list[str]:
    return [duration(row.load_ns), duration(row.first_call_ns), size(row.peak_memory_bytes)]


def _calls(row: Measurement) -> str:
    """Such as `1200 means of 2 calls`, where a single call is too short to be timed."""
    each = f" means of {row.calls_per_sample} calls" if row.calls_per_sample > 1 else ""
    return f"{len(row.samples_ns)}{each}"
