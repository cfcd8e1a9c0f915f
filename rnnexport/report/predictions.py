"""Table of predictions."""

from __future__ import annotations

from rich.table import Table

from rnnexport.predicting.predictor import Predictions, Predictor
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


def predictor_table(predictor: Predictor) -> Table:
    """What a predictor runs, and what it takes and gives."""
    manifest, plan = predictor.bundle.manifest, predictor.plan
    table = Table(title=f"predictor of {predictor.bundle.path}", title_justify="left", show_header=False)
    facts = {
        "runs": f"{plan.graph}, the plan for {plan.tuned.purpose}" if plan else "the baseline",
        "in": f"{predictor.definition.name}, {predictor.definition.engine}, {predictor.definition.precision}",
        "takes": ", ".join(f"{info.name} {list(info.shape)}" for info in manifest.inputs),
        "gives": ", ".join(f"{info.name} {list(info.shape)}" for info in manifest.outputs),
        "classes": ", ".join(predictor.class_names) or "-",
        "streams": "yes" if manifest.step else "no",
    }
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _shown(values: list[float] | list[list[float]]) -> str:
    return ", ".join(f"({_shown(value)})" if isinstance(value, list) else f"{value:.4g}" for value in values)
