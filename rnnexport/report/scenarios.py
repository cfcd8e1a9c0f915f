"""Tables of scenario reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from rnnexport.benchmark.mix import MixRow
from rnnexport.benchmark.scenarios import ScenarioReport, ScenarioRow
from rnnexport.benchmark.server import ServerRow
from rnnexport.benchmark.streaming import StreamingRow
from rnnexport.report.numbers import duration, percent, rate


def scenario_tables(report: ScenarioReport[Any]) -> list[Table | Text]:
    """One row per bundle and runtime, then one line per fault."""
    headings, figures = _COLUMNS[report.scenario]
    table = Table(title=f"{report.scenario}: {report.timed_region}", title_justify="left")
    for heading in ("bundle", "runtime", *headings):
        table.add_column(heading)
    for row in report.rows:
        names = Path(row.bundle).name, row.definition.name
        table.add_row(*names, *(["-"] * len(headings) if _reason(row) else figures(row)))
    reasons = dict.fromkeys(f"{row.definition.name}: {_reason(row)}" for row in report.rows if _reason(row))
    return [
        table,
        *map(Text, reasons),
        *(Text(note, style="yellow") for note in report.conditions.notes),
        *(Text(str(missing.error()), style="yellow") for missing in report.not_usable),
    ]


def _reason(row: ScenarioRow) -> str | None:
    return row.failure or row.not_applicable


def _mix(row: MixRow) -> list[str]:
    shortest, mean, longest = row.lengths
    new, met = row.p50_new_length_ns, row.p50_met_length_ns
    return [
        f"{shortest}–{longest}, mean {mean:.1f}",
        str(row.calls),
        duration(row.p50_ns),
        duration(row.p99_ns),
        duration(new),
        duration(met),
        f"{new / met:.2f}×" if new and met else "-",
        rate(row.series_per_second),
    ]


def _streaming(row: StreamingRow) -> list[str]:
    return [
        str(row.time_steps),
        str(row.calls),
        duration(row.p50_ns),
        duration(row.p99_ns),
        rate(row.steps_per_second),
        "-" if row.real_time_factor is None else f"{row.real_time_factor:.3g}",
        percent(row.deadline_misses),
        "-" if row.streams is None else str(row.streams),
    ]


def _server(row: ServerRow) -> list[str]:
    if row.best is None:
        return ["none held the limit", *["-"] * 5]
    best = row.best
    return [
        rate(best.rate),
        duration(best.p50_ns),
        duration(best.p99_ns),
        f"{best.mean_batch_size:.2f}",
        percent(best.busy),
        str(best.answered),
    ]


_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[[Any], list[str]]]] = {
    "mix": (("time steps", "calls", "median", "p99", "new length", "met before", "new / met", "series"), _mix),
    "streaming": (
        ("chunk", "calls", "median", "p99", "steps", "real-time factor", "deadlines missed", "streams that fit"),
        _streaming,
    ),
    "server": (("requests", "median", "p99", "mean batch", "busy", "answered"), _server),
}
"""Headings and figures by scenario."""
