"""The float64 reference is float64 whatever the code of a module writes; one that draws random numbers is refused."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import rnnexport
from rnnexport.capture import parse_input_spec
from rnnexport.errors import ExportError
from rnnexport.exporting.reference import answers
from rnnexport.parity.grid import Case

SERIES = parse_input_spec("x:float32[batch,time,5]")
CASE = Case("batch=3 time=6", {"x": np.random.default_rng(0).standard_normal((3, 6, 5)).astype(np.float32)})
STATES = {
    "the default type": lambda x: torch.zeros(1, x.size(0), 8).to(x.device),
    "float32 by name": lambda x: torch.zeros(1, x.size(0), 8, dtype=torch.float32),
    "of a float32 number": lambda x: torch.full((1, x.size(0), 8), 0.0).float(),
    "a legacy tensor": lambda x: torch.FloatTensor([[[0.0] * 8]]).expand(1, x.size(0), 8).contiguous(),
}


class Run(nn.Module):
    """A GRU behind a function of the module and its input."""

    def __init__(self, function):
        super().__init__()
        self.rnn = nn.GRU(5, 8, batch_first=True)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def in_float64(module):
    return answers(module, [SERIES], ["y"], [CASE])[0]["float64/y"]


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
def test_the_reference_is_float64_whatever_type_the_state_has(state):
    module = Run(lambda m, x: m.rnn(x.float(), state(x))[0])
    twin = nn.GRU(5, 8, batch_first=True).double()
    twin.load_state_dict(module.rnn.state_dict())
    expected = twin(torch.from_numpy(CASE.feeds["x"]).double())[0].detach().numpy()
    np.testing.assert_allclose(in_float64(module), expected, rtol=0, atol=1e-14)


def test_casts_to_half_precision_are_none_in_the_reference():
    module = Run(lambda m, x: (x.half() * m.rnn(x)[0][..., :5].bfloat16()).float())
    exact = Run(lambda m, x: x * m.rnn(x)[0][..., :5])
    exact.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(in_float64(module), in_float64(exact))


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.rnn(x, torch.randn(1, x.size(0), 8))[0],
        lambda m, x: m.rnn(nn.functional.dropout(x, 0.5))[0],
        lambda m, x: m.rnn(x + 0.1 * torch.randn_like(x))[0],
        lambda m, x: m.rnn(x)[0] * float(np.random.rand()),
    ],
    ids=["random states", "dropout in evaluation", "noise", "another library's numbers"],
)
def test_a_module_that_draws_random_numbers_is_refused(tmp_path, forward):
    with pytest.raises(ExportError, match="draws random numbers"):
        rnnexport.export(Run(forward), tmp_path / "bundle", inputs=["x:float32[batch,time,5]"])
    assert not any(tmp_path.iterdir())


def test_the_refusal_names_the_place_in_the_users_code():
    def forward(m, x):
        noise = torch.randn_like(x)
        return m.rnn(x + noise)[0]

    line = forward.__code__.co_firstlineno + 1
    with pytest.raises(ExportError, match=re.escape(f"{__file__}:{line}: forward draws random numbers")):
        in_float64(Run(forward))


def test_dropout_that_is_off_draws_nothing():
    module = Run(lambda m, x: m.rnn(nn.functional.dropout(x, 0.5, m.training))[0])
    assert in_float64(module).dtype == np.float64


def test_each_call_is_a_first_call_although_forward_counts_them():
    module = Run(lambda m, x: m.rnn(x)[0] + m.calls.add_(1))
    module.register_buffer("calls", torch.zeros(()))
    first, second = answers(module, [SERIES], ["y"], [CASE, CASE])
    np.testing.assert_array_equal(first["float64/y"], second["float64/y"])
    assert module.calls == 0


def test_a_layer_that_forward_closes_over_is_in_float64_and_put_back():
    module = Run(None)
    gru, found = module.rnn, module.rnn.weight_ih_l0.data
    module.function = lambda _, x: gru(x)[0]
    assert in_float64(module).dtype == np.float64
    assert gru.weight_ih_l0.data_ptr() == found.data_ptr()


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_computed_weights_are_held_in_float64():
    module = Run(lambda m, x: m.rnn(x)[0])
    torch.nn.utils.weight_norm(module.rnn, "weight_hh_l0")
    module(torch.zeros(1, 1, 5))  # now the computed weight is no leaf
    assert in_float64(module).shape == (3, 6, 8)
