"""The files of a checkpoint, and where checkpoints lie.

The files are replaced one by one, each whole, `model.json` last: a killed training leaves the old checkpoint or the new
one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnexport.data.task import Dataset, Split, Task
from rnnexport.errors import CheckpointError

if TYPE_CHECKING:
    from rnnexport.models.classifier import SequenceClassifier

CHECKPOINTS = Path("checkpoints")
EVALUATION_SERIES = 128
"""At most so many test series go into the checkpoint, and from there into the bundle."""


def find_newest_checkpoint(cell: str, root: Path = CHECKPOINTS) -> Path:
    """Return the folder below `root` whose model of that cell was finished last.

    Raises:
        UnknownNameError: There is no such cell.
        CheckpointError: There is no checkpoint of it; the message names the command that makes one.
    """
    from rnnexport.models.classifier import check_cell, load_description

    check_cell(cell)
    found = [path for path in root.glob("*/model.json") if load_description(path).config.cell == cell]
    if not found:
        raise CheckpointError(
            f"no checkpoint of cell {cell!r} in {root}/; make one with: rnnexport train --cell {cell}"
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


def write_checkpoint(folder: Path, task: Task, model: SequenceClassifier, dataset: Dataset, metrics: str) -> None:
    """Write the model, its evaluation set and `metrics.json` into `folder`."""
    from rnnexport.models.classifier import ModelDescription, save_model

    description = ModelDescription(
        config=model.config,
        task=task.name,
        metric=task.metric,
        class_names=dataset.class_names,
        vocabulary=dataset.vocabulary,
    )
    building = folder / "trainer" / "result"
    building.mkdir(exist_ok=True)
    save_model(model, description, building)
    _save_evaluation(task, dataset.test, building / "evaluation.npz")
    (building / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
    for name in ("evaluation.npz", "metrics.json", "model.safetensors", "model.json"):
        (building / name).replace(folder / name)


def _save_evaluation(task: Task, split: Split, path: Path) -> None:
    """Keep series spread evenly over the test part, one after another: `values`, `lengths`, `labels`."""
    count = min(EVALUATION_SERIES, len(split.series))
    chosen = np.linspace(0, len(split.series) - 1, count).round().astype(int)
    labels = [np.asarray(split.labels[i], task.labels_dtype) for i in chosen]
    np.savez_compressed(
        path,
        values=np.concatenate([split.series[i] for i in chosen]),
        lengths=np.array([len(split.series[i]) for i in chosen], np.int64),
        labels=np.concatenate(labels) if task.predicts == "class per step" else np.stack(labels),
    )
