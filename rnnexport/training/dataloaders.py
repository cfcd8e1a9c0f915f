"""Batches as tensors, for training and for what is looked at without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from rnnexport.data.batches import LengthBatches
from rnnexport.data.padding import pad_series
from rnnexport.data.task import IGNORED, Split, Task

Batch = tuple[Tensor, Tensor, Tensor]
"""x [B, T, I] or tokens [B, T], lengths [B], labels [B], [B, T] or [B, outputs]."""
SERIES_AT_ONCE = 256


class _RankedLoader(DataLoader[Any]):
    """Hands each process of a distributed training its part of every batch."""

    def __iter__(self) -> Any:
        if torch.distributed.is_initialized():
            batches: Any = self.batch_sampler
            batches.rank, batches.processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
        return super().__iter__()


def train_loader(split: Split, task: Task, batches: LengthBatches) -> DataLoader[Any]:
    """Series of like length together, in an order that seed and epoch determine."""
    return _RankedLoader(_items(split, task), batch_sampler=batches, collate_fn=_collate)  # type: ignore[arg-type] # lists will do


def loader(split: Split, task: Task) -> DataLoader[Any]:
    """Series as they come."""
    return DataLoader(_items(split, task), SERIES_AT_ONCE, collate_fn=_collate)  # type: ignore[arg-type] # a list will do


def _items(split: Split, task: Task) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    labels = [np.asarray(label, task.labels_dtype) for label in split.labels]
    return list(zip(split.series, labels, strict=True))


def _collate(items: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Batch:
    values, lengths = pad_series([series for series, _ in items])
    labels = [label for _, label in items]
    same = all(label.shape == labels[0].shape for label in labels)
    together = np.stack(labels) if same else pad_series(labels, IGNORED)[0]
    return torch.from_numpy(values), torch.from_numpy(lengths), torch.from_numpy(together)
