"""Packed sequences while a module is traced: a padded batch and its lengths, under PyTorch's own type.

1. `pack_padded_sequence` and `pad_packed_sequence` are replaced in their code objects, so the names under which the
   user's code imported them do not matter.
2. A recurrent layer takes the padded batch and the lengths as they stand: nothing is sorted, gathered or put back.
3. `PackedSequence.data` is what PyTorch would hold: the valid rows, step by step, longest series first. It is computed
   in the graph only if something reads it; packed again after element-wise work, it is scattered back.
4. `pad_packed_sequence` cuts to the longest series or pads to `total_length`, and fills with `padding_value`.
5. The per-step counts `batch_sizes` exist nowhere in the graph; code that reads them is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

from rnnexport.capture.tensor_values import Numbers
from rnnexport.errors import ExportError


class PaddedBatch:
    """Stands where `PackedSequence` keeps its `batch_sizes`, and remembers the batch that was packed."""

    def __init__(self, padded: Tensor, lengths: Tensor, order: Tensor | None, *, zero_padded: bool) -> None:
        """Take padded [T, B, …], lengths [B], the order in which PyTorch packs, and whether padded steps are zero."""
        self.padded, self.lengths, self.order, self.zero_padded = padded, lengths, order, zero_padded
        self.device = torch.device("cpu")
        self.rows = self._sorted(padded).flatten(0, 1).index_select(0, self._places())

    def packed(self) -> PackedSequence:
        """Return the batch under PyTorch's type."""
        unsorted = None if self.order is None else torch.argsort(self.order)
        return PackedSequence(self.rows, self, self.order, unsorted)  # type: ignore[arg-type]

    def with_rows(self, rows: Tensor) -> PaddedBatch:
        """Return this batch with other data in its valid rows, and zeros on padded steps."""
        if rows is self.rows:
            return self
        time_steps, batch_size = self.padded.shape[:2]
        blank = rows.new_zeros(time_steps * batch_size, *rows.shape[1:])
        batch = blank.index_put((self._places(),), rows)
        batch = batch.reshape(time_steps, batch_size, *rows.shape[1:])
        if self.order is not None:
            batch = batch.index_select(1, torch.argsort(self.order))
        return self.with_padded(batch)

    def with_padded(self, padded: Tensor) -> PaddedBatch:
        """Return another batch of the same lengths, zero on padded steps."""
        return PaddedBatch(padded, self.lengths, self.order, zero_padded=True)

    def is_valid(self, time_steps: Any) -> Tensor:
        """[time_steps, B]: whether a step belongs to its series."""
        return torch.arange(time_steps)[:, None] < self.lengths

    def _sorted(self, tensor: Tensor) -> Tensor:
        return tensor if self.order is None else tensor.index_select(1, self.order)

    def _places(self) -> Tensor:
        """Where the rows of `data` stand in the flattened sorted batch [T·B]."""
        return self._sorted(self.is_valid(self.padded.shape[0])).flatten().nonzero()[:, 0]

    def __getattr__(self, name: str) -> NoReturn:
        raise ExportError(f"PackedSequence.batch_sizes.{name} cannot be captured; use the lengths that were packed")

    def __getitem__(self, index: object) -> NoReturn:
        self.__getattr__(f"[{index}]")

    def __len__(self) -> NoReturn:
        self.__getattr__("__len__")


def batch_of(sequence: PackedSequence) -> PaddedBatch:
    """Return the padded batch behind a packed sequence.

    Raises:
        ExportError: The sequence was not packed by `pack_padded_sequence`.
    """
    batch: object = sequence.batch_sizes
    if not isinstance(batch, PaddedBatch):
        raise ExportError("a PackedSequence that pack_padded_sequence did not make cannot be captured")
    return batch.with_rows(sequence.data)


def pack(x: Tensor, lengths: Tensor | Numbers | list[int], batch_first: bool, enforce_sorted: bool) -> PackedSequence:
    """Do the work of `pack_padded_sequence`."""
    lengths = lengths.tensor if isinstance(lengths, Numbers) else lengths
    if not isinstance(lengths, Tensor):
        raise ExportError("pack_padded_sequence is given lengths as numbers, which freezes them; give it a tensor")
    lengths = lengths.to(torch.int64)
    order = None if enforce_sorted else torch.sort(lengths, descending=True)[1]
    return PaddedBatch(x.transpose(0, 1) if batch_first else x, lengths, order, zero_padded=False).packed()


def pad(
    sequence: PackedSequence, batch_first: bool, padding_value: float, total_length: int | None
) -> tuple[Tensor, Tensor]:
    """Do the work of `pad_packed_sequence`."""
    batch = batch_of(sequence)
    padded = batch.padded
    if total_length is None:
        longest = batch.lengths.max().item()
        torch._check(longest >= 1)  # type: ignore[no-untyped-call]
        torch._check(longest <= padded.shape[0])  # type: ignore[no-untyped-call]
        padded = padded.narrow(0, 0, longest)  # type: ignore[arg-type]
    elif not statically_known_true(total_length == padded.shape[0]):
        padded = torch.cat([padded, padded.new_zeros(total_length, *padded.shape[1:])])[:total_length]
    if padding_value or not batch.zero_padded:
        valid = batch.is_valid(padded.shape[0])
        padded = padded.where(valid.reshape(*valid.shape, *[1] * (padded.dim() - 2)), padding_value)
    return (padded.transpose(0, 1) if batch_first else padded), batch.lengths


def _pack_padded_sequence(input: Any, lengths: Any, batch_first: Any = False, enforce_sorted: Any = True) -> Any:
    from rnnexport.capture.packed import pack  # this code runs under the globals of torch.nn.utils.rnn

    return pack(input, lengths, batch_first, enforce_sorted)


def _pad_packed_sequence(
    sequence: Any, batch_first: Any = False, padding_value: Any = 0.0, total_length: Any = None
) -> Any:
    from rnnexport.capture.packed import pad  # this code runs under the globals of torch.nn.utils.rnn

    return pad(sequence, batch_first, padding_value, total_length)


@contextmanager
def packing_caught() -> Iterator[None]:
    """Give PyTorch's packing functions the code of this file, for as long as the context lasts."""
    replaced = [(rnn.pack_padded_sequence, _pack_padded_sequence), (rnn.pad_packed_sequence, _pad_packed_sequence)]
    originals = [function.__code__ for function, _ in replaced]
    try:
        for function, replacement in replaced:
            function.__code__ = replacement.__code__
        yield
    finally:
        for (function, _), code in zip(replaced, originals, strict=True):
            function.__code__ = code
