"""Plots of a study, as SVG, in the colours of Okabe and Ito (2008), which colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnexport.data.tasks import memory_length
from rnnexport.study.results import RunResult

Group = tuple[str, str, list[RunResult]]
COLOURS = {"lstm": "#0072B2", "gru": "#D55E00", "gru-reset-before": "#009E73", "rnn": "#CC79A7"}
MARKERS = {"lstm": "o", "gru": "s", "gru-reset-before": "^", "rnn": "v"}
COLUMNS = 3


def learning_curves(groups: Sequence[Group], path: Path) -> None:
    """Validation metric by epoch: the mean of the seeds, and their span."""
    tasks = list(dict.fromkeys(task for task, _, runs in groups if runs))
    rows = -(-len(tasks) // COLUMNS)
    figure = Figure(figsize=(11, 3 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for task, axis in zip(tasks, axes, strict=False):
        for _, cell, runs in (group for group in groups if group[0] == task and group[2]):
            _curve(axis, cell, [run.validation for run in runs])
            axis.set(title=task, xlabel="epoch", ylabel=f"validation {runs[0].metric}")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False)
    for axis in axes:  # those that are left over
        axis.set_visible(False)
    figure.savefig(path)


def _curve(axis: Axes, cell: str, histories: Sequence[Sequence[float]]) -> None:
    """A run that ended early stays where it ended."""
    length = max(map(len, histories))
    values = np.array([[*history, *[history[-1]] * (length - len(history))] for history in histories])
    epochs = np.arange(1, length + 1)
    axis.plot(epochs, values.mean(axis=0), color=COLOURS[cell], label=cell)
    axis.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=COLOURS[cell], alpha=0.2, linewidth=0)


def memory_lengths(groups: Sequence[Group], path: Path) -> None:
    """Updates until the target by length of the long-memory tasks; seeds that missed it stand at the top, hollow."""
    stems = list(dict.fromkeys(task.partition("-")[0] for task, _, _ in groups))
    figure = Figure(figsize=(5.5 * len(stems), 3.5), layout="constrained")
    for stem, axis in zip(stems, figure.subplots(1, len(stems), squeeze=False).flat, strict=True):
        for place, cell in enumerate(dict.fromkeys(cell for _, cell, _ in groups)):
            _lengths(axis, cell, place, [g for g in groups if g[1] == cell and g[0].partition("-")[0] == stem])
        axis.set(title=f"{stem}: updates until learned", xlabel="time steps", ylabel="updates", ylim=(0, None))
        axis.legend(frameon=False)
    figure.savefig(path)


def _lengths(axis: Axes, cell: str, place: int, groups: Sequence[Group]) -> None:
    points = [(length[1], run) for task, _, runs in groups if (length := memory_length(task)) for run in runs]
    reached = [(x, run.updates_to_target) for x, run in points if run.updates_to_target is not None]
    missed = [(x, run.updates) for x, run in points if run.updates_to_target is None]
    for pairs, label, face in ((reached, cell, COLOURS[cell]), (missed, f"{cell}, missed", "none")):
        if pairs:
            x, y = np.array(pairs, float).T
            shifted = x * (1 + 0.02 * place)  # so that cells do not hide each other
            axis.scatter(
                shifted, y, marker=MARKERS[cell], facecolors=face, edgecolors=COLOURS[cell], label=label, alpha=0.5
            )
