"""How good outputs are, given the labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import UnknownNameError

Metric = Callable[[NDArray[Any], NDArray[np.int64]], float]


def accuracy(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Share of the rows of logits [B, classes] whose largest is at the label; a single logit means class 1 above 0."""
    predicted = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
    return float(np.mean(predicted == labels))


METRICS: dict[str, Metric] = {"accuracy": accuracy}


def get_metric(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in METRICS:
        raise UnknownNameError("metric", name, METRICS)
    return METRICS[name]
