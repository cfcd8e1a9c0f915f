"""The loop, in Lightning: batches, loss, early stopping, the best checkpoint, and a resume that is bit-equal.

A resumed run ends with the very weights of an uninterrupted one: the order of the series, noise and dropout are
functions of the seed and the epoch's number, and checkpoints are written at the end of an epoch.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.nn import functional

from rnnexport.arguments.notebook_progress import in_notebook
from rnnexport.data.batches import LengthBatches
from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.metrics import ERRORS, counted_rows, get_metric
from rnnexport.data.padding import pad_series
from rnnexport.data.task import IGNORED, Dataset, Split, Task
from rnnexport.errors import InputError, TrainingError
from rnnexport.models.classifier import SequenceClassifier
from rnnexport.training.checkpoint_files import WholeCheckpoints, read_checkpoint
from rnnexport.training.dataloaders import SERIES_AT_ONCE, Batch, loader, train_loader
from rnnexport.training.distributed import is_first_process, started_by_torchrun
from rnnexport.training.options import Log, TrainOptions

VALIDATION_LOSS, VALIDATION_METRIC = "validation_loss", "validation_metric"
_KEPT = ("best", "last")
"""Checkpoints of the trainer."""
_PRECISIONS: dict[str, Any] = {"float32": "32-true", "bfloat16-mixed": "bf16-mixed", "float16-mixed": "16-mixed"}


class ModelTraining(LightningModule):
    """Loss and optimizer of a `SequenceClassifier`."""

    def __init__(
        self, model: SequenceClassifier, task: Task, defaults: TrainingDefaults, dataset: Dataset, options: TrainOptions
    ):
        """Train `model` in place."""
        super().__init__()
        self.model = model
        self._predicts, self._metric, self._defaults, self._options = task.predicts, task.metric, defaults, options
        self._offset, self._scale = target_scaling(task, dataset)
        self._outputs: list[NDArray[Any]] = []
        self._labels: list[NDArray[Any]] = []
        self.history: list[dict[str, float]] = []
        """Losses of each epoch that this process ran, and of those before a resume."""
        self.cpu_seconds: list[float] = []
        """CPU time of each epoch that this process ran, validation included."""
        self._epoch_started = 0.0
        self._losses_of_batches: list[Tensor] = []
        self._series_of_batches: list[int] = []

    def on_train_epoch_start(self) -> None:
        """Make noise and dropout a function of seed and epoch."""
        self._epoch_started = time.process_time()
        self._losses_of_batches, self._series_of_batches = [], []
        entropy = np.random.SeedSequence([self._options.seed, self.current_epoch])
        torch.manual_seed(int(entropy.generate_state(1)[0]))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the batch's mean loss."""
        x, lengths, labels = batch
        if x.is_floating_point() and self._defaults.input_noise:
            x = x + self._defaults.input_noise * self.model.std * torch.randn_like(x)
        losses = self._losses(self._outputs_of(x, lengths), labels)
        loss = losses.sum() / self._share_of(len(losses))
        if not self._is_finite_everywhere(loss):
            raise TrainingError(
                f"the training diverged in epoch {self.current_epoch + 1}: the loss is {loss.item()}; "
                "look for extreme values in the data, or train a smaller model or with a lower learning rate"
            )
        self._losses_of_batches.append(loss.detach())  # cheaper than `self.log` in every step
        self._series_of_batches.append(len(x))
        return loss

    def _outputs_of(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Those of the model; series that all fill the batch need no packing, which makes a long GRU slow."""
        return self.model(x, None if bool((lengths == x.shape[1]).all()) else lengths)  # type: ignore[no-any-return] # a module's call is untyped

    def _share_of(self, count: int) -> float:
        """This process's part of the batch's labels if all had as many: with it, the mean over processes is exact."""
        if self._options.processes == 1:
            return count
        total = torch.tensor(float(count), device=self.device)
        torch.distributed.all_reduce(total)
        return total.item() / self._options.processes

    def _is_finite_everywhere(self, loss: Tensor) -> bool:
        """Whether no process diverged; all learn of it, so that none waits for one that has stopped."""
        total = loss.detach().clone()
        if self._options.processes > 1:
            torch.distributed.all_reduce(total)
        return bool(torch.isfinite(total))

    def _losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """One loss for each label that counts."""
        if self._predicts == "values":
            targets = (labels - self._offset.to(labels)) / self._scale.to(labels)
            return functional.mse_loss(outputs, targets, reduction="none").mean(dim=1)
        if self._predicts == "class per step":
            outputs, labels = outputs[labels != IGNORED], labels[labels != IGNORED]
        return classification_losses(outputs, labels)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Log the loss that decides about stopping and about which weights are kept."""
        outputs = self._outputs_of(*batch[:2])
        losses = self._losses(outputs, batch[2])
        self.log(VALIDATION_LOSS, losses.mean(), batch_size=len(losses), prog_bar=True)
        if self._predicts == "values":
            outputs = outputs * self._scale.to(outputs) + self._offset.to(outputs)
        valid = np.arange(batch[0].shape[1]) < batch[1].cpu().numpy()[:, None]
        labels = batch[2].cpu().numpy()
        self._outputs.append(counted_rows(outputs.float().cpu().numpy(), batch[1].cpu().numpy()))
        self._labels.append(labels[valid] if self._predicts == "class per step" else labels)

    def on_validation_epoch_end(self) -> None:
        """Log the task's own metric."""
        value = get_metric(self._metric)(np.concatenate(self._outputs), np.concatenate(self._labels))
        self._outputs, self._labels = [], []
        self.log(VALIDATION_METRIC, value, prog_bar=True)

    def on_train_epoch_end(self) -> None:
        """Keep the epoch's losses and time."""
        self.cpu_seconds.append(time.process_time() - self._epoch_started)
        train_loss = self._mean_train_loss()
        self.log("train_loss", train_loss, prog_bar=True)
        metrics = self.trainer.callback_metrics
        held_out = {name: float(metrics[name]) for name in (VALIDATION_LOSS, VALIDATION_METRIC)}
        self.history.append({"train_loss": train_loss, **held_out})

    def _mean_train_loss(self) -> float:
        """Of all series of the epoch, those of the other processes included."""
        losses = torch.stack(self._losses_of_batches)
        series = torch.tensor(self._series_of_batches, dtype=losses.dtype, device=losses.device)
        if self._options.processes > 1:
            torch.distributed.all_reduce(losses)
            torch.distributed.all_reduce(series)
        return float((losses * series).sum() / series.sum()) / self._options.processes

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the history in the trainer's checkpoint."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the history."""
        self.history = checkpoint["history"]

    def configure_optimizers(self) -> Any:
        """AdamW, which without weight decay is Adam, and the learning rate's schedule."""
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self._defaults.learning_rate, weight_decay=self._defaults.weight_decay
        )
        if self._defaults.schedule == "cosine":
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self._defaults.epochs)]
        if self._defaults.schedule == "plateau":
            halved = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
            return [optimizer], [{"scheduler": halved, "monitor": VALIDATION_LOSS}]
        return optimizer

    def fold_target_scaling(self) -> None:
        """Make the head give values in the data's own unit, so that whoever runs the model need not know of scaling."""
        with torch.no_grad():
            self.model.head.weight.mul_(self._scale[:, None])
            self.model.head.bias.mul_(self._scale).add_(self._offset)


def target_scaling(task: Task, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the training targets, each [outputs]; 0 and 1 for classes."""
    if task.predicts != "values":
        return torch.zeros(task.num_outputs), torch.ones(task.num_outputs)
    targets = np.stack([np.asarray(label, np.float32) for label in dataset.train.labels])
    return torch.from_numpy(targets.mean(axis=0)), torch.from_numpy(targets.std(axis=0) + (targets.std(axis=0) == 0))


def classification_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each row of logits [B, classes]; binary cross-entropy where there is a single logit."""
    if logits.shape[1] == 1:
        targets = labels.to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits[:, 0], targets, reduction="none")
    return functional.cross_entropy(logits, labels, reduction="none")


def fit(
    training: ModelTraining,
    task: Task,
    defaults: TrainingDefaults,
    dataset: Dataset,
    folder: Path,
    options: TrainOptions,
) -> str | None:
    """Train until the last epoch or until patience runs out, and leave the best epoch's weights in `training.model`.

    Writes `last.ckpt` and `best.ckpt` into `folder` after each epoch; with `resume` goes on from `last.ckpt` if it is
    there.

    Returns:
        Why the training ended before its time, where it diverged after an epoch that could be kept.

    Raises:
        TrainingError: The loss is no longer finite, in the very first epoch.
        InputError: The device has no such precision.
        CheckpointError: `last.ckpt` is damaged.
        KeyboardInterrupt: The user interrupted; `resume` goes on after the last whole epoch.
    """
    if options.precision != "float32" and not torch.cuda.is_available():
        raise InputError(f"`precision={options.precision}` needs a CUDA device, which is not here; train in float32")
    batches = LengthBatches([len(values) for values in dataset.train.series], defaults.batch_size, options.seed)
    last, stopped = folder / "last.ckpt", None
    interrupted = last if options.resume and last.exists() else None
    if interrupted:
        read_checkpoint(interrupted)  # says in one line what the trainer would say in a traceback
    with _quiet():
        trainer = Trainer(
            accelerator="auto",
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy=_strategy(options),
            use_distributed_sampler=False,
            precision=_PRECISIONS[options.precision],
            max_epochs=defaults.epochs,
            callbacks=_callbacks(folder, task, defaults),
            gradient_clip_val=defaults.gradient_clip,
            plugins=[WholeCheckpoints()],
            num_sanity_val_steps=0,
            logger=_logger(folder.parent, options.log),
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty() or in_notebook(),
        )
        try:
            trainer.fit(
                training,
                train_loader(dataset.train, task, batches),
                loader(dataset.validation, task),
                ckpt_path=interrupted,
                weights_only=True,
            )
        except SystemExit as exc:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from exc
        except (TrainingError, ProcessRaisedException) as exc:
            why = _divergence(exc)
            if not (folder / "best.ckpt").exists():
                raise TrainingError(why) from exc
            stopped = f"{why}; the best epoch before it is kept"
    _load_best(training, folder)
    if task.predicts == "values":
        training.fold_target_scaling()
    return stopped


def _strategy(options: TrainOptions) -> str:
    """Processes are started here, unless torchrun has started this one."""
    if options.processes == 1 and options.strategy == "auto":
        return "auto"
    return "ddp" if started_by_torchrun() else "ddp_spawn"


def _divergence(exc: Exception) -> str:
    """Message of the `TrainingError`, which a process that was started here hands on as the end of its traceback."""
    if isinstance(exc, ProcessRaisedException):
        _, found, message = str(exc).rpartition("TrainingError: ")
        if not found:
            raise exc
        return message.strip()
    return str(exc)


def _load_best(training: ModelTraining, folder: Path) -> None:
    """Take the best epoch's weights and the history from the files, which the first process of several may read."""
    kept: list[Any] = [None]
    if is_first_process():
        best, last = (read_checkpoint(folder / f"{name}.ckpt") for name in _KEPT)
        kept = [(best["state_dict"], last["history"])]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(kept)
    state_dict, training.history = kept[0]
    training.load_state_dict(state_dict)


def _callbacks(folder: Path, task: Task, defaults: TrainingDefaults) -> list[Callback]:
    def kept(name: str, monitor: str | None) -> Callback:
        return ModelCheckpoint(
            folder,
            filename=name,
            monitor=monitor,
            save_weights_only=monitor is not None,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    callbacks = [kept(name, monitor) for name, monitor in zip(_KEPT, (VALIDATION_LOSS, None), strict=True)]
    if defaults.patience is not None:
        callbacks.append(EarlyStopping(VALIDATION_LOSS, patience=defaults.patience, check_on_train_epoch_end=True))
    if task.stop_at_target and task.target is not None:
        mode = "min" if task.metric in ERRORS else "max"
        callbacks.append(
            EarlyStopping(
                VALIDATION_METRIC,
                mode=mode,
                stopping_threshold=task.target,
                patience=10**9,
                check_on_train_epoch_end=True,
            )
        )
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    return callbacks


def _logger(folder: Path, log: Log | None) -> Logger | bool:
    if log is None:
        return False
    try:
        logger: Logger = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}[log](folder, name="logs")
    except ModuleNotFoundError as exc:
        raise InputError('log "tensorboard" needs tensorboard; run: pip install "rnnexport[tensorboard]"') from exc
    return logger


def predict_outputs(model: SequenceClassifier, split: Split) -> NDArray[np.float32]:
    """Return one row of outputs for each label of the split, in evaluation mode."""
    rows = []
    for start in range(0, len(split.series), SERIES_AT_ONCE):
        values, lengths = pad_series(split.series[start : start + SERIES_AT_ONCE])
        with torch.inference_mode():
            outputs = model.eval()(torch.from_numpy(values), torch.from_numpy(lengths)).numpy()
        rows.append(counted_rows(outputs, lengths))
    return np.concatenate(rows)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice, meant for the author of a training script, from the user of a tool."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
