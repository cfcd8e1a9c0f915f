"""What a task offers to training: series with labels, in three parts, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rnnexport.data.defaults import TrainingDefaults

Series = NDArray[Any]
"""float32 [time, features], or int64 [time] for tokens."""
Predicts = Literal["class", "class per step", "values"]
IGNORED = -1
"""The label of a step that neither the loss nor the metric counts."""


@dataclass(frozen=True, slots=True)
class Split:
    """One part of a data set."""

    series: list[Series]
    """One array for each series, [time, features] or tokens [time]; lengths differ."""
    labels: Sequence[Any] | NDArray[Any]
    """Of each series: its class; an array [time] of classes, one a step; or an array [outputs] of values."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A task's data. Choices are made on `validation`; `test` is looked at once, for the reported figure."""

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    """What each token stands for; empty where the series are numbers."""
    baselines: dict[str, float] = field(default_factory=dict)
    """Test metric of simple forecasts, by name; the other tasks need none of their own."""

    @property
    def input_size(self) -> int:
        """Features per time step; 1 for tokens."""
        first = self.train.series[0]
        return int(first.shape[1]) if first.ndim > 1 else 1


@dataclass(frozen=True, slots=True)
class Task:
    """A data set, where it comes from, and how a model is judged on it."""

    name: str
    description: str
    citation: str
    licence: str
    metric: str
    """A name in `rnnexport.data.metrics`."""
    num_outputs: int
    """Logits of the model; a single one decides between two classes."""
    defaults: TrainingDefaults
    load: Callable[[int], Dataset]
    """Give the data; the split into train and validation is a function of the seed."""
    predicts: Predicts = "class"
    target: float | None = None
    """A validation metric that a trained model should reach; a study measures the time until then."""
    stop_at_target: bool = False
    """Whether training ends there, as where the question is only whether a task can be learned."""
    published: str = ""
    """What others report on these data, and how comparable it is."""

    @property
    def labels_dtype(self) -> type[np.float32 | np.int64]:
        """Values are float32, classes int64."""
        return np.float32 if self.predicts == "values" else np.int64


def split_off_validation(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Part `split` into train and validation, the same share of each class going to validation."""
    generator = np.random.default_rng(seed)
    labels = np.asarray(split.labels)
    held_out = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        held_out[members[: round(share * len(members))]] = True
    return _take(split, ~held_out), _take(split, held_out)


def _take(split: Split, chosen: NDArray[np.bool_]) -> Split:
    return Split([split.series[i] for i in np.flatnonzero(chosen)], np.asarray(split.labels)[chosen])
