"""What authors of modules write, and a trace by itself cannot follow."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.nn.utils import parametrizations, weight_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnexport.capture import capture, parse_input_spec
from rnnexport.errors import ExportError

SERIES, LENGTHS = "x:float32[batch,time,5]", "lengths:int64[batch]"


class Packs(nn.Module):
    """Hands on the lengths as `given` makes them."""

    def __init__(self, given):
        super().__init__()
        self.rnn, self.given = nn.GRU(5, 8, batch_first=True), given

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, self.given(lengths), batch_first=True)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


GIVEN = {
    "tolist": lambda lengths: lengths.tolist(),
    "numpy": lambda lengths: lengths.cpu().numpy(),
    "a tensor of a list": lambda lengths: torch.tensor(lengths.tolist()),
}


@pytest.mark.slow
@pytest.mark.parametrize("given", GIVEN)
def test_lengths_may_be_handed_on_as_numbers(given, check):
    check(Packs(GIVEN[given]), SERIES, LENGTHS, engines=["onnxruntime"], sizes=[(1, 9), (3, 7)])


@pytest.mark.parametrize(
    "given",
    [
        lambda lengths: torch.tensor([min(n, 3) for n in lengths.tolist()]),
        lambda lengths: torch.from_numpy(lengths.numpy() // 2),
        lambda lengths: torch.from_numpy(np.ceil(1 + lengths.numpy())),
        lambda lengths: torch.from_numpy(np.array(lengths.numpy(), dtype=np.int64)),
    ],
)
def test_code_that_computes_with_numbers_is_refused_with_its_place(given):
    with pytest.raises(ExportError, match=r"test_modules_of_others\.py:\d+: forward computes with the values"):
        capture(Packs(given), [parse_input_spec(SERIES), parse_input_spec(LENGTHS)])


def test_a_distribution_is_its_parameters():
    class Forecaster(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(5, 8, batch_first=True), nn.Linear(8, 2)

        def forward(self, x):
            loc, scale = self.head(self.rnn(x)[0]).unbind(-1)
            return {"next": Normal(loc, nn.functional.softplus(scale))}

    captured = capture(Forecaster(), [parse_input_spec(SERIES)])
    assert [value.name for value in captured.model.graph.outputs] == ["next_loc", "next_scale"]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the older weight_norm is deprecated
def test_a_computed_weight_is_a_constant_and_no_state(ops):
    class Computed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = parametrizations.orthogonal(nn.RNN(5, 8), "weight_hh_l0")
            self.second = weight_norm(nn.GRU(8, 8), "weight_ih_l0")

        def forward(self, x):
            return self.second(self.first(x)[0])[0]

    captured = capture(Computed(), [parse_input_spec("x:float32[time,batch,5]")])
    assert not [note for note in captured.notes if "forward sets" in note]
    assert ops(captured).count("RNN") == ops(captured).count("GRU") == 1


def test_sizes_that_are_unknown_have_no_name(check):
    """ONNX Runtime puts two tensors whose sizes have one name into one buffer."""

    class Shifts(nn.Module):
        def forward(self, x):
            once, thrice = torch.zeros_like(x), torch.zeros_like(x)
            once[:, 1:] = x[:, :-1]
            thrice[:, 2:] = once[:, :-2]
            return thrice

    captured = check(Shifts(), SERIES)
    sizes = [size for node in captured.model.graph for value in node.outputs for size in value.shape or ()]
    unknown = [size for size in sizes if not isinstance(size, int) and size.value in (None, "None")]
    assert unknown
    assert all(size.value is None for size in unknown)
