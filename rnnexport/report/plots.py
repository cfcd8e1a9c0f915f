"""Figures of a benchmark report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnexport.errors import InputError
from rnnexport.report.figure_style import STYLE, as_label, line_style, number_plainly

if TYPE_CHECKING:
    from rnnexport.benchmark.results import BenchReport, Measurement

_MOST_POINTS = 500
Rows = Sequence["Measurement"]
Groups = dict[str, list["Measurement"]]
Panel = Callable[[Any, Groups], None]


def plot_latency(report: BenchReport, path: Path) -> None:
    """Draw what the rows allow: distribution, latency against batch and time steps, throughput against latency.

    Raises:
        InputError: No row has figures.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    groups, panels = latency_panels(report)
    if not groups:
        raise InputError(f"{path}: nothing to draw, since no row has figures")
    with rc_context(STYLE):
        columns = min(len(panels), 2)
        lines = -(-len(panels) // columns)
        figure = Figure(figsize=(6.4 * columns, 4.6 * lines), layout="constrained")
        axes: Any = figure.subplots(lines, columns, squeeze=False).flatten()
        for spare in axes[len(panels) :]:
            spare.remove()
        for panel, axis in zip(panels.values(), axes, strict=False):
            panel(axis, groups)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def latency_panels(report: BenchReport) -> tuple[Groups, dict[str, Panel]]:
    """The rows with figures by name, and what they allow to be drawn: functions of an axis and these rows, by topic."""
    groups = _groups([row for row in report.measurements if row.median_ns is not None])
    panels: dict[str, Panel] = {"distribution": _distribution}
    if _several(groups, "batch_size"):
        panels |= {"batch size": _against_batch_size, "throughput": _throughput}
    if _several(groups, "time_steps"):
        panels |= {"time steps": _against_time_steps}
    return groups, panels


def _groups(rows: Rows) -> Groups:
    groups: Groups = {}
    for row in rows:
        groups.setdefault(row.name, []).append(row)
    return groups


def _several(groups: Groups, size: str) -> bool:
    return len({getattr(row, size) for rows in groups.values() for row in rows}) > 1


def _distribution(axis: Any, groups: Groups) -> None:
    """Share of the calls that took no longer, at each one's first shape."""
    first = next(iter(groups.values()))[0]
    for number, (name, rows) in enumerate(groups.items()):
        samples = np.sort(rows[0].samples_ns) / 1e6
        ranks = np.unique(np.linspace(0, len(samples) - 1, _MOST_POINTS).astype(int))
        shares = (ranks + 1) / len(samples)
        axis.plot(samples[ranks], shares, label=as_label(name), markevery=0.2, **line_style(number))
    axis.set(xscale="log", xlabel="latency of a call [ms]", ylabel="share of calls that took no longer")
    number_plainly(axis.xaxis)
    axis.set_title(f"batch size {first.batch_size}, {first.time_steps} time steps", loc="left")


def _against_batch_size(axis: Any, groups: Groups) -> None:
    shortest = min(row.time_steps for rows in groups.values() for row in rows)
    _lines(axis, groups, lambda row: row.time_steps == shortest, lambda row: row.batch_size)
    axis.set_xlabel("batch size")
    axis.set_title(f"{shortest} time steps", loc="left")


def _against_time_steps(axis: Any, groups: Groups) -> None:
    smallest = min(row.batch_size for rows in groups.values() for row in rows)
    _lines(axis, groups, lambda row: row.batch_size == smallest, lambda row: row.time_steps)
    axis.set_xlabel("time steps")
    axis.set_title(f"batch size {smallest}", loc="left")


def _lines(
    axis: Any,
    groups: Groups,
    wanted: Callable[[Measurement], bool],
    size: Callable[[Measurement], int],
) -> None:
    for number, (name, rows) in enumerate(groups.items()):
        chosen = sorted(filter(wanted, rows), key=size)
        medians = np.array([row.median_ns for row in chosen], float) / 1e6
        intervals = np.array([row.median_interval_ns for row in chosen], float).reshape(-1, 2).T / 1e6
        errors = np.maximum([medians - intervals[0], intervals[1] - medians], 0)
        axis.errorbar(
            [size(row) for row in chosen], medians, yerr=errors, label=as_label(name), capsize=3, **line_style(number)
        )
    axis.set(xscale="log", yscale="log", ylabel="median latency [ms], 95 % interval")
    ticks = sorted({size(row) for rows in groups.values() for row in filter(wanted, rows)})
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_xticks([], minor=True)
    number_plainly(axis.yaxis)


def _throughput(axis: Any, groups: Groups) -> None:
    shortest = min(row.time_steps for rows in groups.values() for row in rows)
    for number, (name, rows) in enumerate(groups.items()):
        chosen = sorted((row for row in rows if row.time_steps == shortest), key=lambda row: row.batch_size)
        latencies = [(row.median_ns or 0) / 1e6 for row in chosen]
        axis.plot(latencies, [row.series_per_second for row in chosen], label=as_label(name), **line_style(number))
        for latency, row in zip(latencies, chosen, strict=True):
            place = {"xytext": (5, -11), "textcoords": "offset points", "fontsize": 8, "color": "#555555"}
            axis.annotate(str(row.batch_size), (latency, row.series_per_second), **place)
    axis.set(xscale="log", yscale="log", xlabel="median latency [ms]", ylabel="series per second")
    number_plainly(axis.xaxis, axis.yaxis)
    axis.set_title(f"{shortest} time steps; numbers are batch sizes", loc="left")
