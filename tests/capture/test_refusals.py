"""What cannot be one graph for all sizes is refused in one line that names the place."""

import operator
import re

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnexport.capture import capture, parse_input_spec
from rnnexport.capture.inputs import SizeRange
from rnnexport.errors import ExportError, InputError

HERE = re.escape(__file__) + r":\d+: "
SERIES = "x:float32[batch,time,4]"


class Calls(nn.Module):
    """forward is the function given."""

    def __init__(self, function, layer=None):
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x):
        return self.function(x) if self.layer is None else self.function(self.layer, x)


def refusal(module, *inputs, error=ExportError, **options):
    with pytest.raises(error) as caught:
        capture(module.eval(), [parse_input_spec(text) for text in inputs or [SERIES]], **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def branch_on_values(x):
    if x.sum() > 0:
        return x[:, :1]
    return x


def branch_on_time(x):
    if x.shape[1] > 50:
        return x * 2
    return x


def drop_odd_step(x):
    return x[:, :-1] if x.shape[1] % 2 else x


def loop_with_memory(x):
    total = x[:, 0]
    for step in range(1, x.shape[1]):
        total = total + x[:, step] / operator.index(x.shape[0])
    return total


def packed_by_a_list(gru, x):
    return gru(pack_padded_sequence(x, [3, 2, 1], batch_first=True))[1]


def batch_sizes(gru, x):
    packed = pack_padded_sequence(x, x.new_ones(x.shape[0]).long(), batch_first=True)
    return packed.batch_sizes[0]


@pytest.mark.parametrize(
    ("function", "layer", "message"),
    [
        (branch_on_values, None, "forward depends on the values of its inputs here"),
        (branch_on_time, None, "forward takes another branch unless time > 50.*'if x.shape"),
        (drop_odd_step, None, r"forward takes another branch unless \(time % 2\) == 0"),
        (loop_with_memory, None, "forward loops over dimension 'batch', or needs its size as a number, beside"),
        (lambda x: x @ torch.ones(5, 2), None, "forward fails at every size that was tried, .*mat1 and mat2 shapes"),
        (lambda gru, x: gru(x), nn.GRU(5, 4), "input.size.-1. must be equal to input_size. Expected 5, got 4"),
        (lambda x: torch.linalg.svd(x)[1], None, "operator aten._linalg_svd has no ONNX form"),
        (batch_sizes, nn.GRU(4, 4), r"PackedSequence.batch_sizes.\[0\] cannot be captured"),
    ],
)
def test_names_place_and_reason(function, layer, message):
    assert re.match(HERE + ".*" + message, refusal(Calls(function, layer)))


def test_lengths_as_numbers():
    message = refusal(Calls(packed_by_a_list, nn.GRU(4, 4)), "x:float32[3,time>=3,4]")
    assert re.match(HERE + "pack_padded_sequence is given lengths as numbers", message)


def test_weights_from_the_inputs():
    def forward(gru, x):
        weights = {**dict(gru.named_parameters()), "weight_ih_l0": gru.weight_ih_l0 * x.mean()}
        return torch.func.functional_call(gru, weights, (x,))[0]

    assert "weights of layer 'layer' are computed from the inputs" in refusal(Calls(forward, nn.GRU(4, 4)))


def test_an_assertion_becomes_a_condition_to_try():
    def forward(x):
        assert x.shape[1] < 1000
        return x

    (condition,) = capture(Calls(forward).eval(), [parse_input_spec(SERIES)]).conditions
    assert condition.text == "time < 1000"
    assert all(sizes["time"] >= 1000 for sizes in condition.counterexamples)


def pieces_of_four(x):
    return torch.cat([piece.cumsum(1) for piece in x.split(4, 1)], 1)


def test_pieces_as_many_as_there_are_are_refused_by_the_place():
    message = refusal(Calls(pieces_of_four))
    assert re.match(
        HERE + "forward cuts a dimension of any size into pieces of 4, and a graph holds a fixed number", message
    )


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ([SERIES], {}, r"inputs x do not fit Two.forward\(x, y\): missing a required argument: 'y'"),
        ([SERIES, "z:float32[batch]"], {}, r"input 'z' is no parameter of Two.forward\(x, y\)"),
        ([SERIES, SERIES], {}, "input 'x' is given twice"),
        ([SERIES, "y:float32[batch,time,4]"], {"opset_version": 17}, "opset_version 17 is out of range; use 18 to 22"),
        ([SERIES, "y:float32[batch,time,4]"], {"output_names": ["a", "b"]}, "forward returns 1 tensors"),
    ],
)
def test_calls_that_do_not_fit(inputs, options, message):
    assert re.search(message, refusal(Two(), *inputs, error=InputError, **options))


def test_no_inputs():
    with pytest.raises(InputError, match="a graph needs at least one input"):
        capture(Two(), [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x:float32[batch,time", "input 'x:float32.batch,time' cannot be read; write it like"),
        ("float32[batch]", "cannot be read"),
        ("x:float31[batch]", "element type 'float31' is unknown; choose one of: float32, "),
        ("x:float32[0]", "dimension '0' is neither a name nor a positive number"),
        ("x:float32[batch,]", "dimension '' is neither"),
        ("x:float32[-1]", "dimension '-1' is neither"),
        ("x:float32[time>=0]", "dimension 'time>=0' is neither"),
        ("x:float32[time>4]", "dimension 'time>4' is neither"),
        ("x:int64[time] in 3..2", "there is no value from 3 to 2"),
        ("x:int64[time] in few", "cannot be read"),
    ],
)
def test_input_that_cannot_be_read(text, message):
    with pytest.raises(InputError, match=message):
        parse_input_spec(text)


def test_reads_inputs():
    spec = parse_input_spec(" hx.0 : int64[batch, time,12]")
    assert (spec.name, spec.dtype, spec.shape) == ("hx.0", "int64", ("batch", "time", 12))
    assert parse_input_spec("scale:float32[]").shape == ()


def test_reads_sizes_and_values():
    spec = parse_input_spec("tokens:int64[batch, time>=400] in 100..120")
    assert (spec.shape, spec.sizes["time"], spec.values) == (("batch", "time"), SizeRange(400), (100, 120))
    spec = parse_input_spec("x:float32[time%4==0] in -0.5..1")
    assert (spec.sizes["time"], spec.values) == (SizeRange(4, 4), (-0.5, 1))


def test_two_inputs_that_contradict_each_other():
    message = refusal(Two(), "x:float32[batch,time>=4]", "y:float32[batch,time>=5]", error=InputError)
    assert message == "the inputs contradict each other: they say time >= 4 and time >= 5; state the sizes once"
