"""Table of predictions."""

from __future__ import annotations

from rich.table import Table

from rnnexport.predicting.predictor import Predictions
from rnnexport.report.numbers import percent

_SHOWN = 50


def predictions_table(predictions: Predictions) -> Table:
    """One row per series: name, class, probability; the first 50."""
    total = len(predictions.series)
    hidden = f"; {total - _SHOWN} more with --out" if total > _SHOWN else ""
    if not predictions.class_names:
        table = Table("series", "values", title=f"{total} series{hidden}", title_justify="left")
        for prediction in predictions.series[:_SHOWN]:
            table.add_row(prediction.name, _shown(prediction.values))
        return table
    table = Table("series", "class", "probability", title=f"{total} series{hidden}", title_justify="left")
    for prediction in predictions.series[:_SHOWN]:
        named = prediction.class_name or " ".join(prediction.steps)
        table.add_row(prediction.name, named, percent(max(prediction.probabilities, default=None)))
    return table


def _shown(values: list[float] | list[list[float]]) -> str:
    return ", ".join(f"({_shown(value)})" if isinstance(value, list) else f"{value:.4g}" for value in values)
