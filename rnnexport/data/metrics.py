"""How good outputs are, given the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.data.task import IGNORED, Dataset
from rnnexport.errors import UnknownNameError

Metric = Callable[[NDArray[Any], NDArray[Any]], float]


def accuracy(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Share of the rows of logits [B, classes] whose largest is at the label; a single logit means class 1 above 0.

    Rows whose label is `IGNORED` do not count.
    """
    predicted = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
    counted = labels != IGNORED
    return float(np.mean(predicted[counted] == labels[counted]))


def mse(values: NDArray[Any], targets: NDArray[Any]) -> float:
    """Mean squared error of values [B, outputs], in the square of the target's unit."""
    return float(np.mean(np.square(values.astype(np.float64) - targets)))


def rmse(values: NDArray[Any], targets: NDArray[Any]) -> float:
    """Square root of the mean squared error of values [B, outputs], in the target's unit."""
    return float(np.sqrt(mse(values, targets)))


METRICS: dict[str, Metric] = {"accuracy": accuracy, "mse": mse, "rmse": rmse}
ERRORS = {"mse", "rmse"}
"""Those of which less is better."""


def get_metric(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in METRICS:
        raise UnknownNameError("metric", name, METRICS)
    return METRICS[name]


def reaches(metric: str, value: float, target: float) -> bool:
    """Whether `value` is as good as `target`."""
    return value <= target if metric in ERRORS else value >= target


def counted_rows(outputs: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Outputs as one row for each label: those per step, [B, T, outputs], without the padded steps."""
    if outputs.ndim < 3:
        return outputs
    rows: NDArray[Any] = outputs[np.arange(outputs.shape[1]) < lengths[:, None]]
    return rows


def baselines(metric: str, dataset: Dataset) -> dict[str, float]:
    """Test metric of what needs no model: a task's own forecasts, else the most frequent class or the mean value."""
    if dataset.baselines:
        return dataset.baselines
    train, test = _joined(dataset.train.labels), _joined(dataset.test.labels)
    if metric in ERRORS:
        return {"mean": get_metric(metric)(np.full_like(test, train.mean()), test)}
    counted = test[test != IGNORED]
    return {"most frequent": float(np.mean(counted == np.bincount(train[train != IGNORED]).argmax()))}


def _joined(labels: Iterable[Any]) -> NDArray[Any]:
    return np.concatenate([np.atleast_1d(label) for label in labels])


def best_baseline(metric: str, dataset: Dataset) -> float:
    """The baseline that is hardest to beat."""
    values = baselines(metric, dataset).values()
    return min(values) if metric in ERRORS else max(values)
