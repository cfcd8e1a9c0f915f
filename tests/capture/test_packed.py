"""Packed sequences: what PyTorch computes over each series' own length, the graph computes too."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

LENGTHS = "lengths:int64[batch]"
ORT = ["onnxruntime"]  # OpenVINO needs the lengths rewritten: tests/passes/test_lengths.py


class Packed(nn.Module):
    """Pack, run, and do with the result what a test says."""

    def __init__(self, use, *, kind=nn.LSTM, batch_first=True, enforce_sorted=False, **options):
        super().__init__()
        self.rnn = kind(5, 4, batch_first=batch_first, **options)
        self.second = nn.GRU(4 * (2 if self.rnn.bidirectional else 1), 3, batch_first=batch_first)
        self.linear = nn.Linear(5, 5)
        self.use, self.enforce_sorted = use, enforce_sorted

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), self.rnn.batch_first, self.enforce_sorted)
        return self.use(self, packed, x)


def series(batch_first):
    return "x:float32[batch,time,5]" if batch_first else "x:float32[time,batch,5]"


def padded(module, packed, x):
    y, state = module.rnn(packed)
    return *pad_packed_sequence(y, module.rnn.batch_first), state


def last_state(module, packed, x):
    return module.rnn(packed)[1]


def into_a_second_rnn(module, packed, x):
    y, h_n = module.second(module.rnn(packed)[0])
    return pad_packed_sequence(y, module.rnn.batch_first)[0], h_n


def to_the_input_s_length(module, packed, x):
    return pad_packed_sequence(module.rnn(packed)[0], True, total_length=x.shape[1])[0]


def to_20_steps_of_minus_one(module, packed, x):
    return pad_packed_sequence(module.rnn(packed)[0], True, padding_value=-1.0, total_length=20)[0]


def with_masked_attention(module, packed, x):
    y, lengths = pad_packed_sequence(module.rnn(packed)[0], batch_first=True)
    valid = torch.arange(y.shape[1]) < lengths[:, None]
    weights = torch.softmax(y.sum(-1).masked_fill(~valid, float("-inf")), dim=1)
    return (weights[..., None] * y).sum(1)


def after_a_layer_on_the_rows(module, packed, x):
    rows = module.linear(packed.data)
    return padded(module, PackedSequence(rows, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices), x)


def the_rows_themselves(module, packed, x):
    return module.rnn(packed)[0].data


def unpacked_again(module, packed, x):
    return pad_packed_sequence(packed, True, padding_value=7.0)


def with_residual(module, packed, x):
    y, _ = pad_packed_sequence(module.rnn(packed)[0], batch_first=True)
    return torch.cat([x, y], dim=-1)


USES = [
    padded,
    last_state,
    into_a_second_rnn,
    to_the_input_s_length,
    to_20_steps_of_minus_one,
    with_masked_attention,
    after_a_layer_on_the_rows,
    the_rows_themselves,
    unpacked_again,
    with_residual,
]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_runs_as_in_pytorch(check, use):
    check(Packed(use), series(batch_first=True), LENGTHS, engines=ORT)


@pytest.mark.parametrize("use", [padded, last_state, into_a_second_rnn], ids=lambda use: use.__name__)
def test_deep_bidirectional_time_major_and_sorted(check, use):
    module = Packed(use, kind=nn.GRU, batch_first=False, enforce_sorted=True, num_layers=2, bidirectional=True)
    check(module, series(batch_first=False), LENGTHS, engines=ORT)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_projection_and_initial_states(check):
    class WithStates(Packed):
        def forward(self, x, lengths, h, c):
            packed = pack_padded_sequence(x, lengths, True, enforce_sorted=False)
            y, state = self.rnn(packed, (h, c))
            return pad_packed_sequence(y, True)[0], state

    module = WithStates(None, bidirectional=True, proj_size=2, num_layers=1)
    module.second = nn.Identity()  # type: ignore[assignment]
    states = ["h:float32[2,batch,2]", "c:float32[2,batch,4]"]
    check(module, series(batch_first=True), LENGTHS, *states, engines=ORT)


def test_nothing_is_sorted_when_only_states_are_used(check, ops):
    captured = check(Packed(last_state), series(batch_first=True), LENGTHS, engines=ORT)
    assert ops(captured) == ["Transpose", "Cast", "LSTM"]
