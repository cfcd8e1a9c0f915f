"""Train one model on one task, and write what export needs.

Everything is checked before the first epoch: names, sizes, data, and that the folder can be written to. What a resume
needs lies apart from the checkpoint, in `trainer/`, until the training is done.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.arguments.options import with_arguments
from rnnexport.data.checks import check_dataset
from rnnexport.data.defaults import Schedule, TrainingDefaults
from rnnexport.data.files import file_task
from rnnexport.data.metrics import best_baseline, get_metric
from rnnexport.data.options import DataFile
from rnnexport.data.task import Dataset, Task
from rnnexport.data.tasks import get_task
from rnnexport.errors import CheckpointError, InputError
from rnnexport.files.regular_files import read_regular
from rnnexport.results.invocation import invocation
from rnnexport.results.result import Result
from rnnexport.training.checkpoints import CHECKPOINTS, write_checkpoint
from rnnexport.training.distributed import check_processes, is_first_process
from rnnexport.training.options import Precision, TrainOptions
from rnnexport.versions import available_memory, tool_versions

if TYPE_CHECKING:
    from rnnexport.models.classifier import SequenceClassifier


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
    learning_rate: float
    weight_decay: float
    gradient_clip: float
    schedule: Schedule
    precision: Precision
    devices: int
    num_nodes: int
    seed: int
    data: DataFile | None = None
    """A file of the user's in place of a task that comes with rnnexport."""


class TrainingResult(Result):
    """What a training came to; the content of `metrics.json`."""

    schema_version: Literal[1] = 1
    folder: str
    settings: Settings
    metric: str
    test: float
    validation: float
    train: float
    baseline: float
    """The metric of the best that needs no model, such as always naming the most frequent class."""
    parameters: int
    epochs: int
    seconds: float
    cpu_seconds_per_epoch: float | None
    """Median of the epochs that this process ran; `None` where it ran none."""
    history: list[dict[str, float]]
    stopped: str | None = None
    """Why the training ended before its time, where it diverged."""
    versions: dict[str, str]
    command: str | None = None
    """How it was asked for, where that is known."""

    def records(self) -> list[dict[str, Any]]:
        """A row for each epoch."""
        return [{"epoch": number, **figures} for number, figures in enumerate(self.history, 1)]


def train_with(options: TrainOptions) -> TrainingResult:
    """Train a model and write it to the folder `out`.

    On a CPU the same options give the same weights, bit for bit, also when the training is interrupted and resumed.

    Each batch is shared by `devices` processes on each of `num_nodes` hosts, through torch.distributed. On one host
    they are started here; on several, by torchrun, and then every process returns the result, the first one writes it,
    and `out` must be a folder that all hosts share if it is to be resumed.

    Raises:
        UnknownNameError: The task or the cell does not exist.
        InputError: A size is out of range, the data are not installed or malformed, or the folder cannot be written to.
        CheckpointError: `resume` finds no interrupted training, or one with other settings.
        TrainingError: The loss is no longer finite in the first epoch.
    """
    from rnnexport.models.classifier import check_cell

    check_cell(options.cell)
    check_processes(options.devices, options.num_nodes)
    task = get_task(options.task) if options.data is None else file_task(options.data)
    given = {name: value for name, value in vars(options).items() if value is not None}
    asked = {field.name: given[field.name] for field in fields(task.defaults) if field.name in given}
    defaults = replace(task.defaults, **asked)
    settings = Settings.model_validate({**asdict(defaults), **given, "task": task.name})
    folder = Path(options.out) if options.out is not None else CHECKPOINTS / f"{task.name}-{options.cell}"
    try:
        return _train(task, defaults, settings, folder, options)
    except OSError as exc:
        raise InputError(f"cannot write checkpoint {folder}: {exc.strerror or exc}") from exc


train = with_arguments(TrainOptions, train_with, "train")


def _train(
    task: Task, defaults: TrainingDefaults, settings: Settings, folder: Path, options: TrainOptions
) -> TrainingResult:
    dataset = task.load(settings.seed)
    check_dataset(task, dataset)
    _check_memory(settings, dataset)
    try:
        from rnnexport.training.loop import ModelTraining, fit
    except ModuleNotFoundError as exc:
        raise InputError(f"training needs {exc.name}; run: pip install 'rnnexport[train]'") from exc
    work = folder / "trainer"
    if is_first_process():
        _prepare_work_folder(work, settings, resume=options.resume)
    started = time.perf_counter()
    model = build_model(task, settings, defaults, dataset)
    training = ModelTraining(model, task, defaults, dataset, options)
    stopped = fit(training, task, defaults, dataset, work, options)
    result = TrainingResult(
        folder=str(folder),
        settings=settings,
        metric=task.metric,
        **_scores(task, model, dataset),
        baseline=best_baseline(task.metric, dataset),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        epochs=len(training.history),
        seconds=time.perf_counter() - started,
        cpu_seconds_per_epoch=float(np.median(training.cpu_seconds)) if training.cpu_seconds else None,
        history=training.history,
        stopped=stopped,
        versions=tool_versions(),
        command=invocation(),
    )
    if is_first_process():
        write_checkpoint(folder, task, model, dataset, result.model_dump_json(indent=1))
        shutil.rmtree(work)
    return result


def _prepare_work_folder(work: Path, settings: Settings, *, resume: bool) -> None:
    """Make `trainer/` ready for this very training, or refuse."""
    settings_path = work / "settings.json"
    if work.is_symlink() or (work.exists() and not settings_path.is_file() and any(work.iterdir())):
        raise InputError(f"{work} is not of a training of rnnexport, so it is not replaced; choose another `out`")
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        settings_path.write_text(settings.model_dump_json())
        return
    try:
        interrupted = dict(json.loads(read_regular(settings_path)))
    except (FileNotFoundError, ValueError, TypeError, RecursionError) as exc:
        raise CheckpointError(f"{work.parent} holds no interrupted training; train without `resume`") from exc
    for name, value in settings.model_dump(mode="json").items():
        if interrupted.get(name) != value:
            raise CheckpointError(
                f"{work.parent} was interrupted with {name} = {interrupted.get(name)!r}, not {value!r}; "
                "resume with the same settings, or train without `resume`"
            )


def _check_memory(settings: Settings, dataset: Dataset) -> None:
    """Refuse sizes whose weights, gradients and two moments of Adam, four bytes each, do not fit into memory."""
    gates, directions = {"lstm": 4, "rnn": 1}.get(settings.cell, 3), 1 + settings.bidirectional
    size, layers = settings.hidden_size, settings.num_layers
    rows = dataset.input_size + size + 2 + (layers - 1) * (directions * size + size + 2)
    needed, free = 16 * gates * directions * size * rows, available_memory()
    if needed > free:
        raise InputError(
            f"`hidden_size={size}` and `num_layers={layers}` take {needed / 2**30:,.1f} GiB to train, and "
            f"{free / 2**30:,.1f} GiB are free; choose smaller ones"
        )


def build_model(task: Task, settings: Settings, defaults: TrainingDefaults, dataset: Dataset) -> SequenceClassifier:
    """Return the untrained model, its weights drawn by the seed and its scaling that of the training part."""
    import torch

    from rnnexport.models.classifier import ModelConfig, SequenceClassifier

    torch.manual_seed(settings.seed)
    tokens = {"vocabulary_size": len(dataset.vocabulary), "embedding_size": defaults.embedding_size}
    model = SequenceClassifier(
        ModelConfig.model_validate(
            {
                **settings.model_dump(include={"cell", "hidden_size", "num_layers", "bidirectional", "dropout"}),
                "input_size": dataset.input_size,
                "num_outputs": task.num_outputs,
                "per_step": task.predicts == "class per step",
                **(tokens if dataset.vocabulary else {}),
            }
        )
    )
    if not dataset.vocabulary:
        mean, deviation = mean_and_deviation(dataset.train.series)
        model.mean.copy_(torch.from_numpy(mean))
        model.std.copy_(torch.from_numpy(deviation))
    return model


def mean_and_deviation(series: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each feature over all steps, one series at a time; the deviation of a constant, which tells nothing, is 1."""
    steps = sum(map(len, series))
    mean = sum(values.sum(axis=0, dtype=np.float64) for values in series) / steps
    deviation = np.sqrt(sum(np.square(values - mean).sum(axis=0) for values in series) / steps)
    is_constant = deviation <= np.finfo(np.float32).eps * np.abs(mean)
    return mean, np.where(is_constant, 1, deviation)


def _scores(task: Task, model: SequenceClassifier, dataset: Dataset) -> dict[str, float]:
    from rnnexport.training.loop import predict_outputs

    def score(part: str) -> float:
        split = getattr(dataset, part)
        return get_metric(task.metric)(predict_outputs(model, split), np.concatenate(_rows(task, split.labels)))

    return {part: score(part) for part in ("train", "validation", "test")}


def _rows(task: Task, labels: Any) -> list[NDArray[Any]]:
    """Labels as arrays whose rows, one after another, are those of the outputs."""
    return [np.asarray(label)[None] if task.predicts == "values" else np.atleast_1d(label) for label in labels]
