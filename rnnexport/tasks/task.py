"""What a task offers to training: series with labels, in three parts, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Split:
    """One part of a data set."""

    series: list[Series]
    """One array [time, features] for each series; lengths differ."""
    labels: NDArray[np.int64]
    """Class of each series."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A task's data. Choices are made on `validation`; `test` is looked at once, for the reported figure."""

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]

    @property
    def input_size(self) -> int:
        """Features per time step."""
        return int(self.train.series[0].shape[1])

    @property
    def baseline(self) -> float:
        """Test accuracy of always naming the class that is most frequent in `train`."""
        most_frequent = np.bincount(self.train.labels).argmax()
        return float(np.mean(self.test.labels == most_frequent))


@dataclass(frozen=True, slots=True)
class TrainingDefaults:
    """The settings that `train` uses unless it is told others."""

    hidden_size: int
    epochs: int
    batch_size: int
    learning_rate: float
    dropout: float = 0.0
    weight_decay: float = 0.0
    input_noise: float = 0.0
    """Standard deviation of the noise that training adds to each value, in units of the feature's own."""
    patience: int | None = None
    """Epochs without a better validation loss after which training stops; `None` runs all epochs."""


@dataclass(frozen=True, slots=True)
class Task:
    """A data set, where it comes from, and how a model is judged on it."""

    name: str
    description: str
    citation: str
    licence: str
    metric: str
    """A name in `rnnexport.tasks.metrics`."""
    num_outputs: int
    """Logits of the model; a single one decides between two classes."""
    defaults: TrainingDefaults
    load: Callable[[int], Dataset]
    """Give the data; the split into train and validation is a function of the seed."""


def split_off_validation(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Part `split` into train and validation, the same share of each class going to validation."""
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(split.labels), np.bool_)
    for label in np.unique(split.labels):
        members = generator.permutation(np.flatnonzero(split.labels == label))
        held_out[members[: round(share * len(members))]] = True
    return _take(split, ~held_out), _take(split, held_out)


def _take(split: Split, chosen: NDArray[np.bool_]) -> Split:
    return Split([split.series[i] for i in np.flatnonzero(chosen)], split.labels[chosen])
