"""Tables and a plot of what `rnnexport tune` tried."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from rnnexport.report.figure_style import STYLE, as_label, line_style
from rnnexport.report.numbers import duration, metric_value, size, times
from rnnexport.tuning.results import Candidate, TuneReport

if TYPE_CHECKING:
    from rich.console import RenderableType

_NEAREST = 3
"""Candidates over the budget that are named where none holds it."""
_LEAST_ERROR = 1e-9
"""Where an error of 0 is drawn."""


def tune_tables(report: TuneReport) -> list[RenderableType]:
    """Everything that was tried, the fastest first, and what it came to; what was not measured is counted."""
    table = Table("graph variant", "runtime", "latency", "× baseline", "error", "size", "outcome")
    if report.metric:
        table.add_column(report.metric)
    for candidate in sorted(report.candidates, key=_rank):
        if candidate in report.unmeasured:
            continue
        cells = [
            candidate.form,
            candidate.definition.name,
            ", ".join(map(duration, candidate.medians_ns)) or "-",
            times(candidate.times_plain) if candidate.times_plain else "-",
            "-" if candidate.error is None else f"{candidate.error:.2g}",
            size(candidate.bytes) if candidate.bytes else "-",
            candidate.outcome + (f": {_first_line(candidate.reason)}" if candidate.reason else ""),
        ]
        if report.metric:
            cells.append(metric_value(report.metric, candidate.metric))
        table.add_row(*cells, style="bold" if candidate.outcome == "chosen" else None)
    return [table, _summary(report)]


def _rank(candidate: Candidate) -> tuple[bool, bool, float]:
    return candidate.outcome != "chosen", not candidate.alive, -_speed(candidate)


def _first_line(reason: str) -> str:
    return reason.partition("\n")[0]


def _summary(report: TuneReport) -> str:
    best = report.chosen
    judged = f"errors are told on {report.judged_on}"
    if best is not None:
        plain = next(c for c in report.candidates if c.alive).definition.name
        speed = f"{times(best.times_plain or 1.0)} as fast as the baseline in {plain}"
        return f"{report.plan}: {best.name}, {speed}; {judged}{_unmeasured(report)}"
    near = sorted((c for c in report.candidates if c.error is not None), key=lambda c: c.error or 0.0)[:_NEAREST]
    names = "; ".join(f"{c.name} with {c.error:.2g}" for c in near) or "none that ran"
    return f"nothing holds {report.budget}, so no plan was written; the nearest: {names}; {judged}{_unmeasured(report)}"


def _unmeasured(report: TuneReport) -> str:
    if not report.unmeasured:
        return ""
    count, others = len(report.candidates), len(report.unmeasured)
    limit = f"{report.time_limit_seconds:g} s were" if report.time_limit_seconds is not None else "the time was"
    enough = f"{limit} enough for {count - others} of {count} candidates"
    names = "; ".join(dict.fromkeys(candidate.form for candidate in report.unmeasured))
    return (
        f"\n{enough}; nothing is known of the other {others} ({names}): go on with --resume and a larger --time-limit"
    )


def plot_tune(report: TuneReport, path: Path) -> None:
    """Draw speed against error, and join those that nothing else beats in both (the Pareto front)."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(9, 5.5), layout="constrained")
        axes = figure.subplots()
        draw_tune(axes, report)
        axes.set_xlabel(as_label(f"largest error, on {report.judged_on}"))
        axes.set_title(as_label(f"{Path(report.bundle).name}, {report.purpose}"))
        figure.legend(loc="outside right upper", frameon=False)
        figure.savefig(path)


def drawn_candidates(report: TuneReport) -> dict[str, list[Candidate]]:
    """Those whose error and speed are both known, by form."""
    drawn: dict[str, list[Candidate]] = {}
    for candidate in report.candidates:
        if candidate.error is not None and candidate.times_plain is not None:
            drawn.setdefault(candidate.form, []).append(candidate)
    return drawn


def draw_tune(axis: Any, report: TuneReport) -> None:
    """Draw a mark for each candidate, and the Pareto front."""
    drawn = drawn_candidates(report)
    for number, (form, those) in enumerate(drawn.items()):
        style = {**line_style(number), "linestyle": ""}
        axis.plot(list(map(_error, those)), list(map(_speed, those)), markersize=7, label=as_label(form), **style)
    front = pareto_front([candidate for those in drawn.values() for candidate in those])
    axis.plot(list(map(_error, front)), list(map(_speed, front)), c="#777777", ls="--", zorder=0)
    if best := report.chosen:
        axis.annotate("plan", (_error(best), _speed(best)), (8, 8), textcoords="offset points")
    axis.set(xscale="log", xlabel="largest error", ylabel="times as fast as the baseline")
    axis.set_ylim(bottom=0)


def _error(candidate: Candidate) -> float:
    return max(candidate.error or 0.0, _LEAST_ERROR)


def _speed(candidate: Candidate) -> float:
    return candidate.times_plain or 0.0


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those than which no other is both as exact and faster, from exact to fast."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (_error(c), -_speed(c))):
        if not front or _speed(candidate) > _speed(front[-1]):
            front.append(candidate)
    return front
