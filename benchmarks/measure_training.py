"""Time per epoch of rnnexport's trainer beside a plain PyTorch loop, and how much of its batches is padding.

Both train the same model on the same batches with the same optimizer, clipping, noise and dropout, and look at the
validation part after each epoch; the trainer also writes its checkpoints. The two take turns in one process with one
thread. Run: python benchmarks/measure_training.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from rnnexport.data.batches import LengthBatches
from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.padding import pad_series
from rnnexport.data.task import Dataset, Split, Task
from rnnexport.data.tasks import get_task
from rnnexport.training.loop import ModelTraining, fit
from rnnexport.training.options import TrainOptions
from rnnexport.training.training import Settings, build_model

CASES = (("vowels", "lstm", 12), ("vowels", "gru", 12), ("plaid", "lstm", 4), ("adding-400", "lstm", 2))
VARIABLE_LENGTH = ("vowels", "names", "plaid")


class TimedTraining(ModelTraining):
    """Notes when each epoch begins."""

    def on_train_epoch_start(self) -> None:
        """Note the time."""
        self.starts: list[float] = [*getattr(self, "starts", []), time.perf_counter()]
        super().on_train_epoch_start()


def trainer_seconds(task: Task, cell: str, dataset: Dataset, epochs: int) -> list[float]:
    """From the start of each epoch to that of the next, the checkpoints between them included."""
    training, defaults = new_training(task, cell, dataset, epochs + 1)
    with tempfile.TemporaryDirectory() as folder:
        fit(training, task, defaults, dataset, Path(folder), TrainOptions())
    return np.diff(training.starts)[1:].tolist()  # the first epoch warms up


def plain_seconds(task: Task, cell: str, dataset: Dataset, epochs: int) -> list[float]:
    """The same, as a loop that one writes by hand."""
    training, defaults = new_training(task, cell, dataset, epochs + 1)
    model, optimizer = (
        training.model,
        torch.optim.AdamW(
            training.parameters(), lr=task.defaults.learning_rate, weight_decay=task.defaults.weight_decay
        ),
    )
    batches = LengthBatches([len(values) for values in dataset.train.series], defaults.batch_size, 0)
    seconds = []
    for epoch in range(epochs + 1):
        started = time.perf_counter()
        batches.set_epoch(epoch)
        model.train()
        for places in batches:
            x, lengths, labels = tensors(task, dataset.train, places)
            if x.is_floating_point() and task.defaults.input_noise:
                x = x + task.defaults.input_noise * model.std * torch.randn_like(x)
            optimizer.zero_grad()
            training._losses(model(x, lengths), labels).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), task.defaults.gradient_clip)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for start in range(0, len(dataset.validation.series), 256):
                places = list(range(start, min(start + 256, len(dataset.validation.series))))
                x, lengths, labels = tensors(task, dataset.validation, places)
                training._losses(model(x, lengths), labels).mean()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def new_training(task: Task, cell: str, dataset: Dataset, epochs: int) -> tuple[TimedTraining, TrainingDefaults]:
    defaults = replace(task.defaults, epochs=epochs)
    settings = Settings.model_validate({**asdict(TrainOptions(cell=cell)), **asdict(defaults), "task": task.name})
    model = build_model(task, settings, defaults, dataset)
    return TimedTraining(model, task, defaults, dataset, TrainOptions()), defaults


def tensors(task: Task, split: Split, places: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    values, lengths = pad_series([split.series[place] for place in places])
    labels = np.stack([np.asarray(split.labels[place], task.labels_dtype) for place in places])
    return torch.from_numpy(values), torch.from_numpy(lengths), torch.from_numpy(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often the two take turns")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for name, cell, epochs in CASES:
        task = get_task(name)
        dataset = task.load(0)
        ours, plain = [], []
        for _ in range(rounds):
            ours += trainer_seconds(task, cell, dataset, epochs)
            plain += plain_seconds(task, cell, dataset, epochs)
        a, b = np.median(ours), np.median(plain)
        print(f"{name} {cell}: trainer {1e3 * a:.1f} ms/epoch, plain loop {1e3 * b:.1f} ms/epoch, {a / b:.2f}x")
    for name in VARIABLE_LENGTH:
        task = get_task(name)
        lengths = [len(values) for values in task.load(0).train.series]
        batches = LengthBatches(lengths, task.defaults.batch_size, 0)
        shuffled = np.random.default_rng(0).permutation(lengths)
        size = task.defaults.batch_size
        unsorted = sum(len(shuffled[i : i + size]) * shuffled[i : i + size].max() for i in range(0, len(lengths), size))
        print(f"{name}: padding {batches.padding_share():.1%} of the steps, {1 - sum(lengths) / unsorted:.1%} unsorted")


if __name__ == "__main__":
    main()
