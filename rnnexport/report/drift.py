"""Table and figure of a drift report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from rnnexport.errors import InputError
from rnnexport.parity.drift import DriftReport, RuntimeDrift
from rnnexport.report.figure_style import STYLE, as_label, line_style, number_plainly

_DECADES = (10, 100, 1000, 10_000, 100_000)
_LEAST_ERROR = 1e-12
"""Where an error of 0 is drawn."""


def drift_tables(report: DriftReport) -> list[Table | Text]:
    """One row per runtime: the largest error up to each power of ten, and how long it stays within tolerance."""
    title = f"{report.bundle}: error over {report.steps:,} steps of {report.inputs}"
    table = Table(title=title, title_justify="left")
    decades = [steps for steps in _DECADES if steps <= report.steps]
    for heading in ("runtime", "precision", *(f"to step {d:,}" for d in decades), "drift horizon", "bounded"):
        table.add_column(heading)
    for runtime in report.runtimes:
        table.add_row(runtime.definition.name, runtime.definition.precision, *_cells(runtime, decades, report.steps))
    lines = [
        Text(f"{r.definition.name}: {r.failure or r.not_applicable}", style="red" if r.failure else "")
        for r in report.runtimes
        if r.failure or r.not_applicable
    ]
    return [table, *lines, *(Text(str(missing.error()), style="yellow") for missing in report.not_usable)]


def _cells(runtime: RuntimeDrift, decades: Sequence[int], steps: int) -> list[str | Text]:
    if not runtime.errors:
        failed = "n/a" if runtime.not_applicable else Text("failed", style="red")
        return [*["-"] * len(decades), failed, "-"]
    largest = [max(error for end, error in runtime.errors if end <= decade) for decade in decades]
    if runtime.horizon is None:
        horizon = Text(f"over {steps:,} steps", style="green")
    else:
        late = (f"{runtime.horizon:,} steps", "red")
        horizon = Text.assemble(late, f" (tolerance {runtime.tolerance.atol:g})")
    bounded = "yes" if runtime.bounded else Text("no, it grows", style="red")
    return [*(f"{error:.1e}" for error in largest), horizon, bounded]


def plot_drift(report: DriftReport, path: Path) -> None:
    """Draw each runtime's error against the time step.

    Raises:
        InputError: No runtime has an error to draw.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = drawn_runtimes(report)
    if not drawn:
        raise InputError(f"{path}: nothing to draw, since no runtime has run")
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axis: Any = figure.subplots()
        draw_drift(axis, drawn)
        axis.set_title(as_label(Path(report.bundle).name))
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def drawn_runtimes(report: DriftReport) -> list[RuntimeDrift]:
    """Those with an error to draw."""
    return [runtime for runtime in report.runtimes if runtime.errors]


def draw_drift(axis: Any, drawn: Sequence[RuntimeDrift]) -> None:
    """Draw a line for each runtime, on logarithmic scales, and the tolerance of each precision."""
    for number, runtime in enumerate(drawn):
        ends, errors = zip(*runtime.errors, strict=True)
        label = as_label(f"{runtime.definition.name} ({runtime.definition.precision})")
        heights = [max(error, _LEAST_ERROR) for error in errors]
        axis.loglog(ends, heights, markersize=4, label=label, **line_style(number))
    for precision, atol in {r.definition.precision: r.tolerance.atol for r in drawn}.items():
        axis.axhline(atol, color="#666666", linestyle="--", linewidth=1)
        axis.annotate(f"tolerance, {precision}", (1, atol), textcoords="offset points", xytext=(2, 3), fontsize=9)
    axis.set(xlabel="time step", ylabel="largest error of a layer's output")
    number_plainly(axis.xaxis)
