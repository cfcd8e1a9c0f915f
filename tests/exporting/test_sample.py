"""Real inputs of a module, and what is drawn by them."""

import numpy as np
import pytest
import torch
from torch import nn

import rnnexport
from rnnexport.errors import InputError
from rnnexport.parity.oracle import kept_cases

INPUTS = ["tokens:int64[batch,time]", "part:float32[batch]"]


class Offset(nn.Module):
    """Takes tokens from 100 on, in series of five steps at least, and relative lengths above 0."""

    def __init__(self):
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(20, 4), nn.GRU(4, 8, batch_first=True)
        self.mix = nn.Conv1d(4, 4, 5)

    def forward(self, tokens, part):
        x = self.mix(self.embedding(tokens - 100).transpose(1, 2)).transpose(1, 2)
        return self.rnn(x)[0] / part.view(-1, 1, 1).sqrt()


def export(tmp_path, call, name="calls.npz"):
    path = tmp_path / name
    np.savez(path, **call) if name.endswith("npz") else torch.save(call, path)
    return rnnexport.export(Offset(), tmp_path / "bundle", inputs=INPUTS, sample=path)


def test_calls_are_drawn_in_the_ranges_of_the_sample_and_the_sample_is_one(tmp_path):
    tokens = np.random.default_rng(0).integers(100, 120, (2, 9))
    part = np.array([0.25, 1.0])
    bundle = export(tmp_path, {"tokens": tokens, "part": part})
    cases, _ = kept_cases(bundle)
    np.testing.assert_array_equal(cases[0].feeds["tokens"], tokens)
    drawn = np.concatenate([case.feeds["tokens"].ravel() for case in cases])
    assert (drawn.min(), drawn.max()) == (tokens.min(), tokens.max())
    assert min(case.feeds["part"].min() for case in cases) >= 0.25
    assert min(case.feeds["tokens"].shape[1] for case in cases) >= 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"tokens": torch.full((2, 9), 100)}, "holds tokens; the inputs are tokens, part"),
        ({"tokens": torch.full((2, 9), 100), "part": torch.ones(3)}, "'part' is float32"),
        ({"tokens": torch.ones(2, 9), "part": torch.ones(2)}, "'tokens' is float32"),
        ([torch.ones(2)], "holds no dictionary of tensors"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(tmp_path, call, message):
    with pytest.raises(InputError, match=message):
        export(tmp_path, call, "calls.pt")
    assert not (tmp_path / "bundle").exists()
