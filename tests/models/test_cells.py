"""PyTorch's layers, and ours, against the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnexport.models.cells import ResetBeforeGRU, gru_step, lstm_step

SIZES = {"B": st.integers(1, 4), "T": st.integers(1, 6), "I": st.integers(1, 4), "H": st.integers(1, 5)}


def weights_of(layer: nn.RNNBase) -> list[NDArray[np.float64]]:
    return [getattr(layer, f"{name}_l0").detach().numpy() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


@given(**SIZES)
def test_against_torch_lstm(B: int, T: int, I: int, H: int) -> None:  # noqa: E741, N803 - shape letters
    layer = nn.LSTM(I, H).double()
    x, h, c = torch.randn(T, B, I).double(), torch.randn(1, B, H).double(), torch.randn(1, B, H).double()
    expected, (h_n, c_n) = layer(x, (h, c))
    state = h[0].numpy(), c[0].numpy()
    outputs = []
    for step in x.numpy():
        state = lstm_step(step, *state, *weights_of(layer))
        outputs.append(state[0])
    np.testing.assert_allclose(np.stack(outputs), expected.detach(), atol=1e-12)
    np.testing.assert_allclose(np.stack(state), torch.stack([h_n[0], c_n[0]]).detach(), atol=1e-12)


@given(**SIZES)
@pytest.mark.parametrize("layer_type", [nn.GRU, ResetBeforeGRU])
def test_against_gru_equations(layer_type: type[nn.GRU], B: int, T: int, I: int, H: int) -> None:  # noqa: E741, N803
    layer = layer_type(I, H).double()
    x, h = torch.randn(T, B, I).double(), torch.randn(1, B, H).double()
    expected, h_n = layer(x, h)
    state, outputs = h[0].numpy(), []
    for step in x.numpy():
        state = gru_step(step, state, *weights_of(layer), reset_before=layer_type is ResetBeforeGRU)
        outputs.append(state)
    np.testing.assert_allclose(np.stack(outputs), expected.detach(), atol=1e-12)
    np.testing.assert_allclose(state, h_n[0].detach(), atol=1e-12)


def test_the_two_forms_of_the_gru_differ() -> None:
    torch.manual_seed(0)
    layer, other = nn.GRU(3, 4), ResetBeforeGRU(3, 4)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(5, 2, 3)
    assert (layer(x)[0] - other(x)[0]).abs().max() > 1e-3


@given(
    num_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    batch_first=st.booleans(),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
)
def test_reset_before_has_the_form_of_torch_gru(
    num_layers: int, bidirectional: bool, bias: bool, batch_first: bool, lengths: list[int]
) -> None:
    """With recurrent weights of zero the two forms are the same function, whatever the arrangement."""
    arguments = {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
    layer = nn.GRU(3, 4, num_layers, **arguments).double()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith(("weight_hh", "bias_hh")):
                parameter.zero_()
    other = ResetBeforeGRU(3, 4, num_layers, **arguments).double()
    other.load_state_dict(layer.state_dict())
    x = torch.randn(len(lengths), max(lengths), 3).double()
    h_0 = torch.randn(num_layers * (2 if bidirectional else 1), len(lengths), 4).double()
    unpacked = x if batch_first else x.transpose(0, 1)
    torch.testing.assert_close(other(unpacked, h_0), layer(unpacked, h_0))
    torch.testing.assert_close(other(x[0]), layer(x[0]))
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    (y, h_n), (expected_y, expected_h_n) = other(packed, h_0), layer(packed, h_0)
    torch.testing.assert_close(pad_packed_sequence(y), pad_packed_sequence(expected_y))
    torch.testing.assert_close(h_n, expected_h_n)
