"""Train one model on one task, and write what export needs.

1. Everything is checked before the first epoch: names, sizes, and that the folder can be written to.
2. The files of a checkpoint are replaced one by one, each whole, `model.json` last: a killed training leaves the
   old checkpoint or the new one. What a resume needs lies apart, in `trainer/`, until the training is done.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel

from rnnexport.errors import CheckpointError, InputError
from rnnexport.tasks import get_task
from rnnexport.tasks.metrics import get_metric
from rnnexport.tasks.task import Dataset, Split, Task
from rnnexport.versions import tool_versions

if TYPE_CHECKING:
    from rnnexport.models import SequenceClassifier

CHECKPOINTS = Path("checkpoints")
EVALUATION_SERIES = 128
"""At most so many test series go into the checkpoint, and from there into the bundle."""


class Settings(BaseModel):
    """Everything that determines the weights of a training."""

    task: str
    cell: str
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dropout: float
    epochs: int
    batch_size: int
    seed: int


class TrainingResult(BaseModel):
    """What a training came to; the content of `metrics.json`."""

    schema_version: Literal[1] = 1
    folder: str
    settings: Settings
    metric: str
    test: float
    validation: float
    train: float
    baseline: float
    """The metric of always naming the most frequent class."""
    parameters: int
    epochs: int
    seconds: float
    history: list[dict[str, float]]
    versions: dict[str, str]


def train(
    task: str = "vowels",
    cell: str = "lstm",
    *,
    hidden_size: int | None = None,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
) -> TrainingResult:
    """Train a model and write it to the folder `out` (default: `checkpoints/TASK-CELL`).

    What is not given is the task's default. On a CPU the same settings give the same weights, bit for bit, also when
    the training is interrupted and resumed.

    Raises:
        UnknownNameError: The task or the cell does not exist.
        InputError: A size is out of range, the data are not installed, or the folder cannot be written to.
        CheckpointError: `resume` finds no interrupted training, or one with other settings.
        TrainingError: The loss is no longer finite.
    """
    from rnnexport.models import check_cell

    check_cell(cell)
    chosen = get_task(task)
    settings = Settings(
        task=task,
        cell=cell,
        hidden_size=chosen.defaults.hidden_size if hidden_size is None else hidden_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        dropout=chosen.defaults.dropout if dropout is None else dropout,
        epochs=chosen.defaults.epochs if epochs is None else epochs,
        batch_size=chosen.defaults.batch_size if batch_size is None else batch_size,
        seed=seed,
    )
    _check_settings(settings)
    folder = Path(out) if out is not None else CHECKPOINTS / f"{task}-{cell}"
    try:
        return _train(chosen, settings, folder, resume=resume)
    except OSError as exc:
        raise InputError(f"cannot write checkpoint {folder}: {exc.strerror or exc}") from exc


def find_newest_checkpoint(cell: str, root: Path = CHECKPOINTS) -> Path:
    """Return the folder below `root` whose model of that cell was finished last.

    Raises:
        UnknownNameError: There is no such cell.
        CheckpointError: There is no checkpoint of it; the message names the command that makes one.
    """
    from rnnexport.models import check_cell, load_description

    check_cell(cell)
    found = [path for path in root.glob("*/model.json") if load_description(path).config.cell == cell]
    if not found:
        raise CheckpointError(
            f"no checkpoint of cell {cell!r} in {root}/; make one with: rnnexport train --cell {cell}"
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


def _check_settings(settings: Settings) -> None:
    for name in ("hidden_size", "num_layers", "epochs", "batch_size"):
        if getattr(settings, name) < 1:
            raise InputError(f"{name} is {getattr(settings, name)}; it must be at least 1")
    if not 0 <= settings.dropout < 1:
        raise InputError(f"dropout is {settings.dropout}; it must be at least 0 and below 1")
    if settings.seed < 0:
        raise InputError(f"seed is {settings.seed}; it must not be negative")


def _train(task: Task, settings: Settings, folder: Path, *, resume: bool) -> TrainingResult:
    work = folder / "trainer"
    _prepare_work_folder(work, settings, resume=resume)
    dataset = task.load(settings.seed)
    from rnnexport.training_loop import ClassifierTraining, fit

    started = time.perf_counter()
    model = _build_model(task, settings, dataset)
    training = ClassifierTraining(model, task.defaults, settings.seed)
    fit(
        training,
        dataset,
        work,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        patience=task.defaults.patience,
        seed=settings.seed,
        resume=resume,
    )
    result = TrainingResult(
        folder=str(folder),
        settings=settings,
        metric=task.metric,
        **_scores(task, model, dataset),
        baseline=dataset.baseline,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        epochs=len(training.history),
        seconds=time.perf_counter() - started,
        history=training.history,
        versions=tool_versions(),
    )
    _write_checkpoint(folder, task, model, dataset, result)
    shutil.rmtree(work)
    return result


def _prepare_work_folder(work: Path, settings: Settings, *, resume: bool) -> None:
    """Make `trainer/` ready for this very training, or refuse."""
    settings_path = work / "settings.json"
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        settings_path.write_text(settings.model_dump_json())
        return
    try:
        interrupted = json.loads(settings_path.read_text())
    except (FileNotFoundError, ValueError) as exc:
        raise CheckpointError(f"{work.parent} holds no interrupted training; train without --resume") from exc
    for name, value in settings.model_dump().items():
        if interrupted.get(name) != value:
            raise CheckpointError(
                f"{work.parent} was interrupted with {name} = {interrupted.get(name)!r}, not {value!r}; "
                "resume with the same settings, or train without --resume"
            )


def _build_model(task: Task, settings: Settings, dataset: Dataset) -> SequenceClassifier:
    import torch

    from rnnexport.models import ModelConfig, SequenceClassifier

    torch.manual_seed(settings.seed)
    model = SequenceClassifier(
        ModelConfig.model_validate(
            {
                **settings.model_dump(include={"cell", "hidden_size", "num_layers", "bidirectional", "dropout"}),
                "input_size": dataset.input_size,
                "num_outputs": task.num_outputs,
            }
        )
    )
    values = np.concatenate(dataset.train.series)
    model.mean.copy_(torch.from_numpy(values.mean(axis=0)))
    model.std.copy_(torch.from_numpy(values.std(axis=0)))
    return model


def _scores(task: Task, model: SequenceClassifier, dataset: Dataset) -> dict[str, float]:
    from rnnexport.training_loop import predict_logits

    metric = get_metric(task.metric)
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {name: metric(predict_logits(model, split), split.labels) for name, split in parts.items()}


def _write_checkpoint(
    folder: Path, task: Task, model: SequenceClassifier, dataset: Dataset, result: TrainingResult
) -> None:
    from rnnexport.models import ModelDescription, save_model

    description = ModelDescription(
        config=model.config, task=task.name, metric=task.metric, class_names=dataset.class_names
    )
    building = folder / "trainer" / "result"
    building.mkdir(exist_ok=True)
    save_model(model, description, building)
    _save_evaluation(dataset.test, building / "evaluation.npz")
    (building / "metrics.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for name in ("evaluation.npz", "metrics.json", "model.safetensors", "model.json"):
        (building / name).replace(folder / name)


def _save_evaluation(split: Split, path: Path) -> None:
    """Keep series spread evenly over the test part, one after another: `values`, `lengths`, `labels`."""
    count = min(EVALUATION_SERIES, len(split.series))
    chosen = np.linspace(0, len(split.series) - 1, count).round().astype(int)
    np.savez_compressed(
        path,
        values=np.concatenate([split.series[i] for i in chosen]),
        lengths=np.array([len(split.series[i]) for i in chosen], np.int64),
        labels=split.labels[chosen],
    )
