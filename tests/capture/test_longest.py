"""Masks made of the longest row's length, in the ways that people make them."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SERIES, LENGTHS = "x:float32[batch,time,4]", "lengths:int64[batch]"


class Masked(nn.Module):
    """A packed GRU, and beside its outputs a mask of as many steps as `longest` says."""

    def __init__(self, longest):
        super().__init__()
        self.rnn, self.longest = nn.GRU(4, 6, batch_first=True), longest

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, counted = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        steps = torch.arange(self.longest(x, lengths, counted))
        scores = y.sum(-1).masked_fill(steps[None] >= lengths[:, None], float("-inf"))
        return (scores.softmax(1).unsqueeze(-1) * y).sum(1)


WAYS = {
    "item": lambda x, lengths, counted: lengths.max().item(),
    "int": lambda x, lengths, counted: int(torch.max(lengths)),
    "counted by PyTorch": lambda x, lengths, counted: counted.max().item(),
    "the series' own": lambda x, lengths, counted: x.shape[1],
}


@pytest.mark.parametrize("way", [w if w == "int" else pytest.param(w, marks=pytest.mark.slow) for w in WAYS])
def test_a_mask_fits_the_padded_outputs(way, check):
    check(Masked(WAYS[way]), SERIES, LENGTHS, engines=["onnxruntime"], sizes=[(1, 1), (3, 7)])
