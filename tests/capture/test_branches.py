"""Branches on values and on sizes, and integers made of sizes."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from rnnexport.capture import capture, parse_input_spec
from rnnexport.errors import ExportError

HERE = re.escape(__file__) + r":\d+: "
SERIES = "x:float32[batch,time,4]"
SMALL = [(1, 1), (3, 7), (2, 8), (4, 2)]


class Calls(nn.Module):
    """forward is the function given, over a GRU's outputs."""

    def __init__(self, function):
        super().__init__()
        self.function, self.rnn = function, nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        return self.function(self.rnn(x)[0])


def captured(function):
    return capture(Calls(function), [parse_input_spec(SERIES)])


CONDITIONS = {
    "sum": lambda x: x.sum() > 0,
    "any": lambda x: (x > 0.4).any(),
    "all": lambda x: torch.all(x < 0.3),
    "first": lambda x: x[0, 0, 0] > x[0, -1, 1],
}


def either(x, name):
    if CONDITIONS[name](x):
        x = x * 2
        if x.mean() > 0.05:
            return x + 1
    else:
        x = x.cumsum(1)
    return x if not CONDITIONS["first"](x) else -x


@pytest.mark.parametrize("name", ["sum", *(pytest.param(name, marks=pytest.mark.slow) for name in ("any", "all"))])
def test_every_way_of_a_branch_on_values(name, check):
    check(Calls(lambda x: either(x, name)), SERIES, engines=["onnxruntime"], sizes=[*SMALL, (5, 4), (1, 9)])


def test_what_forward_checks_is_said_and_not_computed(ops):
    def forward(x):
        assert torch.isfinite(x).all()
        assert not torch.isnan(x).any()
        assert x is None or not torch.isinf(x).any()
        if (x > 9).any():
            raise ValueError("too large")
        return x * 2

    found = captured(forward)
    assert [note for note in found.notes if re.fullmatch(HERE + "forward checks values here.*", note)]
    assert not {"Where", "If"} & {*ops(found)}


def test_ways_of_other_shapes_and_too_many_are_refused_with_the_place():
    message = HERE + "forward depends on the values of its inputs here"
    with pytest.raises(ExportError, match=message):
        captured(lambda x: x[:, :1] if x.sum() > 0 else x)

    def forward(x):
        for step in range(4):
            x = x * 2 if x[0, 0, step] > 0 else x
        return x

    with pytest.raises(ExportError, match=message):
        captured(forward)

    def until_a_value(x):
        while (x.abs() > 1).any():
            x = x / 2
        return x

    with pytest.raises(ExportError, match=message):
        captured(until_a_value)


@pytest.mark.slow
@settings(deadline=None)
@given(multiple=st.integers(2, 6))
def test_padding_by_what_is_missing(multiple, check):
    def forward(x):
        missing = -x.shape[1] % multiple
        if missing > 0:
            x = functional.pad(x, (0, 0, 0, missing))
        return x.reshape(x.shape[0], -1, multiple * 4).cumsum(1)

    check(Calls(forward), SERIES, engines=["onnxruntime"], sizes=[(1, 1), (3, 7), (2, 12), (2, 60)])


def test_integers_of_sizes_and_padding_by_what_is_missing(check):
    def forward(x):
        half = int(x.shape[1] * 0.5)
        if missing := -x.shape[1] % 3:
            x = functional.pad(x, (0, 0, 0, missing))
        return torch.cat([x[:, half:], x[:, :half]], 1) * int(3.7) / len(x) + len([x])

    check(Calls(forward), SERIES, engines=["onnxruntime"], sizes=SMALL)
    assert not {"int", "len"} & globals().keys()


@pytest.mark.parametrize("center", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_spectra_there_and_back(center, check):
    def forward(x):
        window = torch.hann_window(8).to(x.dtype) + 0.1
        spectrum = torch.stft(x[..., 0], 8, 4, 8, window, center=center, return_complex=True)
        return torch.istft(spectrum * spectrum.abs(), 8, 4, 8, window, center=center), spectrum.real

    check(Calls(forward), SERIES, sizes=[(1, 8), (3, 17), (2, 31)])
