"""Plots of loads other than one call after another: streams, requests that wait in line, and mixed lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnexport.benchmark.mix import MixRow
from rnnexport.benchmark.scenarios import ScenarioReport, ScenarioRow
from rnnexport.benchmark.server import ServerRow
from rnnexport.benchmark.streaming import StreamingRow
from rnnexport.report.figure_style import line_style, number_plainly
from rnnexport.report.numbers import duration, rate, times
from rnnexport.report.page.inline_svg import INK
from rnnexport.report.page.page_figure import PageFigure, listed, page_figure, pairs_figure

_MATTERS = 1.5
"""Times as long for a new length that are worth a warm-up."""
_Points = Sequence[tuple[float, float]]


def streams(report: ScenarioReport[Any], prefix: str) -> list[PageFigure]:
    """How many streams keep up with their clock."""
    rows = [row for row in _by_runtime(report) if isinstance(row, StreamingRow) and row.time_steps]
    tried = {row.definition.name: _known(row.streams_tried) for row in rows}
    asked = _setting(report, "rate")
    if asked is None or not rows:
        return []
    steps = rows[0].time_steps or 1
    period = steps * 1e9 / asked
    counts = [f"{row.definition.name} keeps up with {row.streams or 0} streams" for row in rows]
    caption = (
        "The time that 99 of 100 calls stay below (p99), by the number of streams that share a call. At the dashed "
        f"line a call takes as long as its chunk of {steps} time step{'' if steps == 1 else 's'} lasts, "
        f"{duration(period)}: above it, streams fall behind their clock. {listed(counts)}."
    )
    return _lines(prefix, tried, "streams that share a call", period, caption)


def requests(report: ScenarioReport[Any], prefix: str) -> list[PageFigure]:
    """How many requests are answered in time."""
    rows = [row for row in _by_runtime(report) if isinstance(row, ServerRow)]
    tried = {row.definition.name: _known({trial.rate: trial.p99_ns for trial in row.trials}) for row in rows}
    limit = _setting(report, "p99_limit_ms")
    if limit is None or not rows:
        return []
    found = [f"{row.definition.name} {rate(row.best.rate) if row.best else 'none'}" for row in rows]
    caption = (
        "The time from arrival to answer that 99 of 100 requests stay below (p99), by how many come in a second. The "
        f"dashed line is the limit of {duration(limit * 1e6)} that was asked for. The most that each holds within it: "
        f"{listed(found)}. Where the line bends up, requests come faster than they are answered, and wait in line."
    )
    return _lines(prefix, tried, "requests per second", limit * 1e6, caption)


def mixed_lengths(report: ScenarioReport[Any], prefix: str) -> list[PageFigure]:
    """What a length costs that a runtime has not met before."""
    rows = [row for row in _by_runtime(report) if isinstance(row, MixRow)]
    pairs = {
        row.definition.name: (row.p50_met_length_ns, row.p50_new_length_ns)
        for row in rows
        if row.p50_met_length_ns and row.p50_new_length_ns
    }
    if not pairs:
        return []
    ratios = {name: new / met for name, (met, new) in pairs.items()}
    worst = max(ratios, key=lambda name: ratios[name])
    shortest, _, longest = rows[0].lengths
    caption = (
        f"Series of {shortest} to {longest} time steps, drawn from those that really come: from the median call of a "
        "length met before (tick) to that of a length new to the process (mark). "
        f"{worst} takes {times(ratios[worst])} as long for a new one"
    )
    caption += (
        "; call it once with each length before it serves, or pad to a few lengths."
        if ratios[worst] > _MATTERS
        else ", so lengths need no warming up."
    )
    alt = f"Bars of {len(pairs)} runtimes from a known length to a new one."
    label = "median call [ms]: tick, length met before; mark, new"
    return [pairs_figure(prefix, list(pairs.values()), label, [*pairs], alt, caption)]


def _by_runtime(report: ScenarioReport[Any]) -> list[ScenarioRow]:
    """In the order of the other plots, so that a runtime has one colour."""
    return sorted(report.rows, key=lambda row: row.definition.name)


def _setting(report: ScenarioReport[Any], name: str) -> float | None:
    value = report.settings.get(name)
    return value if isinstance(value, int | float) and value > 0 else None


def _known(tried: Mapping[Any, int | None]) -> _Points:
    return sorted((float(size), p99 / 1e6) for size, p99 in tried.items() if p99)


def _lines(prefix: str, tried: Mapping[str, _Points], label: str, limit_ns: float, caption: str) -> list[PageFigure]:
    """A line for each runtime, and the limit; nothing where no runtime was tried at two sizes."""
    drawn = {name: points for name, points in tried.items() if points}
    if max(map(len, drawn.values()), default=0) < 2:
        return []

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for number, points in enumerate(drawn.values()):
            axis.plot(*zip(*points, strict=True), **line_style(number))
        axis.axhline(limit_ns / 1e6, color=INK, linestyle="--", linewidth=1)
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="p99 [ms]")
        number_plainly(axis.xaxis, axis.yaxis)

    alt = f"Lines of {len(drawn)} runtimes: p99 against {label}, both on logarithmic scales."
    return [page_figure(prefix, draw, [*drawn], alt, caption)]
