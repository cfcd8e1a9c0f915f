"""Table of trainings."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from rnnexport.report.numbers import metric_value
from rnnexport.training.training import TrainingResult


def training_table(results: Sequence[TrainingResult]) -> Table:
    """One row per model."""
    first = results[0]
    table = Table(title=f"{first.metric} on task {first.settings.task}", title_justify="left")
    for heading in ("cell", "test", "validation", "train", "baseline", "parameters", "epochs", "seconds", "checkpoint"):
        table.add_column(heading)
    for result in results:
        table.add_row(
            result.settings.cell,
            metric_value(result.metric, result.test),
            metric_value(result.metric, result.validation),
            metric_value(result.metric, result.train),
            metric_value(result.metric, result.baseline),
            f"{result.parameters:,}",
            str(result.epochs),
            f"{result.seconds:.1f}",
            result.folder,
        )
    return table
