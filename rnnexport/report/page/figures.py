"""The plots of the page: each with a legend in words, a text for those who cannot see it, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnexport.benchmark.limits import Roofline, RooflineRow
from rnnexport.benchmark.results import BenchReport
from rnnexport.parity.drift import DriftReport
from rnnexport.parity.results import ParityReport
from rnnexport.report.drift import draw_drift, drawn_runtimes
from rnnexport.report.figure_style import as_label, line_style, number_plainly
from rnnexport.report.numbers import metric_value, percent, times
from rnnexport.report.page.inline_svg import INK
from rnnexport.report.page.page_figure import PageFigure, listed, page_figure, pairs_figure
from rnnexport.report.plots import Groups, Panel, Rows, latency_panels
from rnnexport.report.tune import draw_tune, drawn_candidates
from rnnexport.training.training import TrainingResult
from rnnexport.tuning.results import TuneReport

_LEAST_TIMES = 1e-3
"""Where a call without any error is drawn."""
_MOST_TIMES = 1e6
_LONGEST_NAME = 18


def errors_by_output(report: ParityReport, prefix: str) -> list[PageFigure]:
    """The error of every call, by output and runtime."""
    runtimes = [runtime for runtime in report.runtimes if runtime.cases]
    compared = {c.output for runtime in runtimes for case in runtime.cases for c in case.comparisons}
    outputs = [output for output in report.outputs if output in compared]
    if not outputs:
        return []

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for number, runtime in enumerate(runtimes):
            style = {**line_style(number), "linestyle": "", "alpha": 0.75}
            for place, output in enumerate(outputs):
                found = [c for case in runtime.cases for c in case.comparisons if c.output == output]
                height = place + 0.6 * ((number + 1) / (len(runtimes) + 1) - 0.5)
                errors = np.clip([c.times_float32_error for c in found], _LEAST_TIMES, _MOST_TIMES)
                axis.plot(errors, np.full(len(found), height), **style)
        axis.axvline(1, color=INK, linestyle="--", linewidth=1)
        axis.set_yticks(range(len(outputs)), [as_label(_short(output)) for output in outputs])
        axis.set(xscale="log", xlabel="largest error of a call, × float32's own", ylim=(len(outputs) - 0.5, -0.5))
        number_plainly(axis.xaxis)

    wrong = [runtime.definition.name for runtime in runtimes if not runtime.passed]
    calls = max(len(runtime.cases) for runtime in runtimes)
    follows = (
        f"Wrong answers came from {listed(wrong)}: do not use it for this file before that is mended."
        if wrong
        else "No call is wrong, so every runtime here computes the model that was trained, up to rounding."
    )
    caption = (
        f"Each mark is one of up to {calls} calls, of other batch sizes, lengths and values, and one output. At the "
        "dashed line an error is as large as the one that PyTorch makes itself in float32. Right of it a call still "
        f"passes up to four times that, or within the tolerance of its precision. {follows}"
    )
    alt = f"Marks of {len(runtimes)} runtimes by output, on a logarithmic scale of errors."
    height = 0.6 + 0.25 * min(len(outputs), 6)
    return [page_figure(prefix, draw, [r.definition.name for r in runtimes], alt, caption, height)]


def errors_over_time(report: DriftReport, prefix: str) -> list[PageFigure]:
    """The error along a long series."""
    drawn = drawn_runtimes(report)
    if not drawn:
        return []
    growing = [runtime.definition.name for runtime in drawn if not runtime.bounded]
    late = [f"{r.definition.name} from step {r.horizon:,} on" for r in drawn if r.horizon is not None]
    caption = f"The largest error of any layer in each stretch of a series of {report.steps:,} steps: {report.inputs}."
    if growing:
        caption += f" It grows without bound in {listed(growing)}: there, long series and streams need a fresh state."
    else:
        caption += " It does not go on growing, so long series and streams are safe."
    if late:
        caption += f" It passes the tolerance in {listed(late)}."
    names = [f"{runtime.definition.name} ({runtime.definition.precision})" for runtime in drawn]
    alt = f"Lines of {len(drawn)} runtimes: error against time step, both on logarithmic scales."
    return [page_figure(prefix, lambda figure: draw_drift(figure.subplots(), drawn), names, alt, caption)]


def latencies(report: BenchReport, prefix: str) -> list[PageFigure]:
    """Distributions, and what else the rows allow."""
    groups, panels = latency_panels(report)
    captions = {"distribution": _distribution_caption([rows[0] for rows in groups.values()]), **_CAPTIONS}
    return _latency_figures(groups, panels, captions, prefix)


def throughputs(report: BenchReport, prefix: str) -> list[PageFigure]:
    """Ever larger batches."""
    groups, panels = latency_panels(report)
    larger = {topic: panel for topic, panel in panels.items() if topic != "distribution"}
    captions = {topic: f"Ever larger batches. {caption}" for topic, caption in _CAPTIONS.items()}
    return _latency_figures(groups, larger, captions, prefix)


def _latency_figures(
    groups: Groups, panels: Mapping[str, Panel], captions: Mapping[str, str], prefix: str
) -> list[PageFigure]:
    if not groups:
        return []
    figures = []
    for topic, panel in panels.items():

        def draw(figure: Any, panel: Panel = panel) -> None:
            panel(figure.subplots(), groups)

        alt = f"Latency of {len(groups)} rows: {topic}."
        figures.append(page_figure(f"{prefix}-{topic.replace(' ', '-')}", draw, [*groups], alt, captions[topic]))
    return figures


_CAPTIONS = {
    "batch size": "The median call by batch size. Where a line is flat, more series cost nothing more.",
    "throughput": "Series per second against the latency that they cost; numbers are batch sizes. The best batch is "
    "where a line stops rising.",
    "time steps": "The median call by the length of the series. A line that is straight and rises by a decade "
    "in a decade says that every step costs the same.",
}


def _distribution_caption(drawn: Rows) -> str:
    caption = "The share of calls that took no longer than the time below. A steep line is steady; a tail to the right "
    caption += "are calls that took longer now and then."
    tails = [
        (high / row.median_ns, row.definition.name) for row in drawn if row.median_ns and (high := row.latency_ns(99))
    ]
    if tails:
        steady, uneven = min(tails), max(tails)
        caption += f" In one call of a hundred {steady[1]} takes {times(steady[0])} its median or more"
        caption += f", {uneven[1]} {times(uneven[0])}." if len(tails) > 1 else "."
    if unstable := sorted({row.definition.name for row in drawn if not row.stable}):
        caption += f" Figures of {listed(unstable)} were not stable; measure them again on a quiet machine."
    return caption


def bounds(roofline: Roofline, prefix: str) -> list[PageFigure]:
    """Medians beside what the machine can do."""
    rows = [row for row in roofline.rows if row.share is not None and row.bound_ns > 0 and row.median_ns > 0]
    if not rows:
        return []

    pairs = [(row.bound_ns, row.median_ns) for row in rows]
    label = "time of a call [ms]: tick, the bound; mark, the median"
    best = max(rows, key=lambda row: row.share or 0)
    caption = (
        "From the least time that this machine can take for the recurrent layers (tick) to the median call (mark). "
        f"{best.runtime} at {best.batch_size} × {best.time_steps} comes nearest: it reaches "
        f"{percent(best.share)} of the speed that its bound allows, which "
        f"{best.limit} sets. A perfect kernel could be at most {times(1 / (best.share or 1))} as fast."
    )
    if roofline.faults:
        caption = "The probe of the machine was too slow, so these bounds mean nothing; measure again. " + caption
    names = [_bound_name(row) for row in rows]
    alt = f"Bars of {len(rows)} rows from bound to median latency."
    return [pairs_figure(prefix, pairs, label, names, alt, caption)]


def _bound_name(row: RooflineRow) -> str:
    return f"{row.runtime}, {row.batch_size} × {row.time_steps}: {percent(row.share)} of its bound"


def pareto(report: TuneReport, prefix: str) -> list[PageFigure]:
    """What was tried for the plan: speed against error."""
    drawn = drawn_candidates(report)
    if not drawn:
        return []
    best, marks = report.chosen, sum(map(len, drawn.values()))
    caption = (
        f"Each mark is a way to run the model that was measured, {marks} of {len(report.candidates)}: how far it errs "
        f"on {report.judged_on}, and how many times as fast as the baseline it is. The dashed line joins those that no "
        "other beats in both."
    )
    if best is not None and best.reason:
        caption += f" The plan is the baseline, since {best.reason}."
    elif best is not None:
        caption += (
            f" The plan, for {report.purpose} within {report.budget}, is {best.name}, "
            f"{times(best.times_plain or 1.0)} as fast as the baseline."
        )
    else:
        caption += f" Nothing holds {report.budget}, so there is no plan."
    if report.unmeasured:
        caption += f" Of {len(report.unmeasured)} others nothing is known, for want of time."
    alt = f"{marks} marks: speed against error on a logarithmic scale, with the Pareto front."
    return [page_figure(prefix, lambda figure: draw_tune(figure.subplots(), report), [*drawn], alt, caption, 1.15)]


def learning(report: TrainingResult, prefix: str) -> list[PageFigure]:
    """Losses and metric by epoch."""
    wanted = ("train_loss", "validation_loss", "validation_metric")
    if not report.history or any(name not in epoch for epoch in report.history for name in wanted):
        return []
    curves = {name: [epoch[name] for epoch in report.history] for name in wanted}
    epochs = range(1, len(report.history) + 1)
    kept = int(np.argmin(curves["validation_loss"])) + 1

    def draw(figure: Any) -> None:
        above, below = figure.subplots(2, sharex=True)
        for number, name in enumerate(wanted):
            axis = below if name == "validation_metric" else above
            axis.plot(epochs, curves[name], markevery=max(1, len(epochs) // 8), **line_style(number))
        for axis in (above, below):
            axis.axvline(kept, color=INK, linestyle="--", linewidth=1)
            axis.xaxis.get_major_locator().set_params(integer=True)
        above.set(ylabel="loss")
        below.set(xlabel="epoch", ylabel=as_label(report.metric))

    caption = f"Above the loss, below the {report.metric} by epoch. The weights are those of epoch {kept} of "
    caption += f"{len(epochs)} (dashed), where the loss on validation was lowest. "
    caption += (
        "It was still falling when the training ended: more epochs may help."
        if kept == len(epochs)
        else "Later epochs did not improve on it."
    )
    caption += f" On the test series it reaches {metric_value(report.metric, report.test)}; without any model "
    caption += f"{metric_value(report.metric, report.baseline)}."
    names = ["loss in training", "loss on validation", f"{report.metric} on validation"]
    return [page_figure(prefix, draw, names, "Two charts by epoch: losses, and the metric.", caption, 1.2)]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
