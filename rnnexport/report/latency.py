"""Tables of a benchmark report."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from rnnexport.benchmark.benchmark import BenchReport, Measurement
from rnnexport.report.numbers import duration, rate, size

_HEADINGS = (
    "bundle",
    "runtime",
    "batch × time",
    "median",
    "p90",
    "p99",
    "series",
    "load",
    "first call",
    "peak memory",
    "calls",
    "",
)


def latency_tables(report: BenchReport) -> list[Table | Text]:
    """One row per measurement, then one line per fault."""
    table = Table(title=f"latency of {report.timed_region}", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading)
    for measurement in report.measurements:
        table.add_row(*_row(measurement))
    faults: list[Table | Text] = [
        Text(f"{m.definition.name}: batch={m.batch_size} time={m.time_steps}: {m.failure}", style="red")
        for m in report.measurements
        if m.failure
    ]
    reasons = dict.fromkeys(f"{m.definition.name}: {m.not_applicable}" for m in report.measurements if m.not_applicable)
    return [
        table,
        *faults,
        *map(Text, reasons),
        *(Text(str(missing.error()), style="yellow") for missing in report.not_usable),
    ]


def _row(row: Measurement) -> list[str]:
    note = "[yellow]unstable[/]"
    if row.failure:
        note = "[red]no figure[/]"
    elif row.not_applicable:
        note = "n/a"
    elif row.stable:
        note = ""
    return [
        Path(row.bundle).name,
        row.definition.name,
        f"{row.batch_size} × {row.time_steps}",
        duration(row.latency_ns(50)),
        duration(row.latency_ns(90)),
        duration(row.latency_ns(99)),
        rate(row.series_per_second),
        duration(row.load_ns),
        duration(row.first_call_ns),
        size(row.peak_memory_bytes),
        str(len(row.samples_ns)),
        note,
    ]
