"""The loop, in Lightning: batches, loss, early stopping, the best checkpoint, and a resume that is bit-equal.

A resumed run ends with the very weights of an uninterrupted one: the order of the series, noise and dropout are
functions of the seed and the epoch's number, and checkpoints are written at the end of an epoch.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler

from rnnexport.errors import TrainingError
from rnnexport.models import SequenceClassifier
from rnnexport.tasks.padding import pad_series
from rnnexport.tasks.task import Dataset, Split, TrainingDefaults

Batch = tuple[Tensor, Tensor, Tensor]
"""x [B, T, I], lengths [B], labels [B]."""
VALIDATION_LOSS = "validation_loss"
GRADIENT_NORM_LIMIT = 1.0


class EpochShuffle(Sampler[int]):
    """An order of the training series that is a function of the seed and the epoch."""

    def __init__(self, count: int, seed: int) -> None:
        """Order `count` series."""
        self._count, self._seed, self._epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng([self._seed, self._epoch]).permutation(self._count).tolist())

    def __len__(self) -> int:
        return self._count


class ClassifierTraining(LightningModule):
    """Loss and optimizer of a `SequenceClassifier`."""

    def __init__(self, model: SequenceClassifier, defaults: TrainingDefaults, seed: int) -> None:
        """Train `model` in place."""
        super().__init__()
        self.model = model
        self._defaults = defaults
        self._seed = seed
        self.history: list[dict[str, float]] = []
        """Losses of each epoch that this process ran, and of those before a resume."""

    def on_train_epoch_start(self) -> None:
        """Make noise and dropout a function of seed and epoch."""
        torch.manual_seed(int(np.random.SeedSequence([self._seed, self.current_epoch]).generate_state(1)[0]))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the batch's mean loss."""
        x, lengths, labels = batch
        noise = self._defaults.input_noise * self.model.std * torch.randn_like(x)
        loss = classification_loss(self.model(x + noise, lengths), labels)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the training diverged in epoch {self.current_epoch + 1}: the loss is {loss.item()}; "
                "look for extreme values in the data, or train a smaller model"
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Log the loss that decides about stopping and about which weights are kept."""
        loss = classification_loss(self.model(*batch[:2]), batch[2])
        self.log(VALIDATION_LOSS, loss, batch_size=len(batch[2]), prog_bar=True)

    def on_train_epoch_end(self) -> None:
        """Keep the epoch's losses."""
        metrics = self.trainer.callback_metrics
        self.history.append({name: float(metrics[name]) for name in ("train_loss", VALIDATION_LOSS)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the history in the trainer's checkpoint."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history back."""
        self.history = checkpoint["history"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, which without weight decay is Adam."""
        return torch.optim.AdamW(
            self.model.parameters(), lr=self._defaults.learning_rate, weight_decay=self._defaults.weight_decay
        )


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits [B, classes]; binary cross-entropy where there is a single logit."""
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
    return functional.cross_entropy(logits, labels)


def fit(
    training: ClassifierTraining,
    dataset: Dataset,
    folder: Path,
    *,
    epochs: int,
    batch_size: int,
    patience: int | None,
    seed: int,
    resume: bool,
) -> None:
    """Train until `epochs` or until `patience` runs out, and leave the best epoch's weights in `training.model`.

    Writes `last.ckpt` and `best.ckpt` into `folder` after each epoch; with `resume`, goes on from `last.ckpt` if it is
    there.

    Raises:
        TrainingError: The loss is no longer finite.
        KeyboardInterrupt: The user interrupted; `resume` goes on after the last whole epoch.
    """
    checkpoints = ModelCheckpoint(
        folder,
        filename="best",
        monitor=VALIDATION_LOSS,
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [checkpoints]
    if patience is not None:
        callbacks.append(EarlyStopping(VALIDATION_LOSS, patience=patience, check_on_train_epoch_end=True))
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    last = folder / "last.ckpt"
    with _quiet():
        trainer = Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=epochs,
            callbacks=callbacks,
            gradient_clip_val=GRADIENT_NORM_LIMIT,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
        )
        try:
            trainer.fit(
                training,
                _loader(dataset.train, batch_size, EpochShuffle(len(dataset.train.series), seed)),
                _loader(dataset.validation, len(dataset.validation.series)),
                ckpt_path=last if resume and last.exists() else None,
                weights_only=True,
            )
        except SystemExit as exc:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from exc
    best = torch.load(folder / "best.ckpt", weights_only=True, map_location="cpu")
    training.load_state_dict(best["state_dict"])


def predict_logits(model: SequenceClassifier, split: Split) -> NDArray[np.float32]:
    """Return the logits [series, outputs] of every series, in evaluation mode."""
    values, lengths = pad_series(split.series)
    with torch.inference_mode():
        logits: NDArray[np.float32] = model.eval()(torch.from_numpy(values), torch.from_numpy(lengths)).numpy()
    return logits


def _loader(split: Split, batch_size: int, sampler: EpochShuffle | None = None) -> DataLoader[Any]:
    items = list(zip(split.series, split.labels.tolist(), strict=True))
    return DataLoader(items, batch_size, sampler=sampler, collate_fn=_collate)  # type: ignore[arg-type] # a list will do


def _collate(items: Sequence[tuple[NDArray[np.float32], int]]) -> Batch:
    values, lengths = pad_series([series for series, _ in items])
    return torch.from_numpy(values), torch.from_numpy(lengths), torch.tensor([label for _, label in items])


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
