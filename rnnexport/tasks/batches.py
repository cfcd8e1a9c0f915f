"""Which series make a batch: of like length, in an order that the seed and the epoch determine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

POOL = 30
"""Batches that are sorted by length together; more pad less, and mix the series less."""


class LengthBatches:
    """Batches of places in the training part, short with short and long with long, in drawn order.

    Several processes share a batch: each takes every n-th of its series.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = np.asarray(lengths), batch_size, seed, 0
        self.rank, self.processes = 0, 1

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self._epoch = epoch

    def batches(self) -> list[list[int]]:
        """Return the epoch's batches."""
        generator = np.random.default_rng([self._seed, self._epoch])
        order = generator.permutation(len(self._lengths))
        size = self._batch_size * POOL
        pools = [order[start : start + size] for start in range(0, len(order), size)]
        order = np.concatenate([pool[np.argsort(self._lengths[pool], kind="stable")] for pool in pools])
        cut = [order[start : start + self._batch_size].tolist() for start in range(0, len(order), self._batch_size)]
        if len(cut) > 1 and len(cut[-1]) < self.processes:  # each process needs a series of every batch
            cut[-2] += cut.pop()
        return [cut[place] for place in generator.permutation(len(cut))]

    def padding_share(self) -> float:
        """Share of the epoch's steps that are padding."""
        steps = sum(len(batch) * int(self._lengths[batch].max()) for batch in self.batches())
        return 1 - float(self._lengths.sum()) / steps

    def __iter__(self) -> Iterator[list[int]]:
        return iter([batch[self.rank :: self.processes] for batch in self.batches()])

    def __len__(self) -> int:
        return len(self.batches())
