"""What a data set must be, so that a training on it means something."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.data.task import IGNORED, Dataset, Split, Task
from rnnexport.errors import InputError


def check_dataset(task: Task, dataset: Dataset) -> None:
    """Refuse data that a model cannot be trained or judged on.

    Raises:
        InputError: The message names the part, the series and the time step.
    """
    for part in ("train", "validation", "test"):
        _check_split(task, f"task {task.name!r}, {part} part", getattr(dataset, part), dataset)
    if task.predicts == "values":
        return
    labels = np.concatenate([np.atleast_1d(label) for label in dataset.train.labels])
    if len(np.unique(labels[labels != IGNORED])) < 2:
        raise InputError(f"task {task.name!r}: all training labels are of one class, so there is nothing to tell apart")


def _check_split(task: Task, where: str, split: Split, dataset: Dataset) -> None:
    if not split.series:
        raise InputError(f"{where} has no series; give more data")
    if len(split.series) != len(split.labels):
        raise InputError(f"{where} has {len(split.series)} series but {len(split.labels)} labels; each needs one")
    for number, (values, label) in enumerate(zip(split.series, split.labels, strict=True)):
        if len(values) == 0:
            raise InputError(f"{where}: series {number} has no time steps; leave it out")
        if values.shape[1:] != split.series[0].shape[1:]:
            raise InputError(
                f"{where}: series {number} has {list(values.shape[1:])} features, not {list(split.series[0].shape[1:])}"
            )
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InputError(f"{where}: series {number} is not finite at time step {row}; fill or cut it first")
        _check_label(task, f"{where}: series {number}", np.asarray(label), len(values), dataset)


def _check_label(task: Task, where: str, label: NDArray[Any], steps: int, dataset: Dataset) -> None:
    if not np.isfinite(label).all():
        raise InputError(f"{where} has no label; leave it out or label it")
    if task.predicts == "class per step" and len(label) != steps:
        raise InputError(f"{where} has {steps} time steps but {len(label)} labels; each step needs one")
    if task.predicts != "values" and not ((label >= IGNORED) & (label < len(dataset.class_names))).all():
        raise InputError(f"{where} has label {int(label.max())}; there are {len(dataset.class_names)} classes")
