"""Which series make a batch: of like length, so that little is padded.

For training in an order that the seed and the epoch determine, for prediction from the shortest to the longest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

POOL = 30
"""Batches that are sorted by length together; more pad less, and mix the series less."""
MOST_SERIES, MOST_STEPS = 64, 32_768
"""Of a batch for prediction, padding included; a longer series is a batch of its own."""


def batches_by_length(lengths: Sequence[int], *, padded: bool = True) -> list[NDArray[np.int64]]:
    """Return the places of the series of each batch, from the shortest to the longest.

    A batch has at most `MOST_SERIES` series and `MOST_STEPS` time steps, and its longest series is at most a quarter
    and 8 steps longer than its shortest; without `padded`, all are of one length.
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        length, shortest = lengths[place], lengths[batches[-1][0]] if batches else 0
        longest = shortest * 5 // 4 + 8 if padded else shortest
        count = len(batches[-1]) if batches else MOST_SERIES
        if count < MOST_SERIES and length <= longest and (count + 1) * length <= MOST_STEPS:
            batches[-1].append(place)
        else:
            batches.append([place])
    return [np.array(batch) for batch in batches]


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
