"""Every option of nn.LSTM and nn.GRU survives capture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.examples import few_examples

SERIES = "input:float32[batch,time,5]"
TIME_MAJOR = "input:float32[time,batch,5]"


@st.composite
def layers(draw):
    """A whole configuration: the layer, and the inputs that fit it."""
    kind = draw(st.sampled_from([nn.LSTM, nn.GRU]))
    options = {
        "num_layers": draw(st.integers(1, 4)),
        "bidirectional": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    if options["num_layers"] > 1:
        options["dropout"] = draw(st.sampled_from([0.0, 0.5]))
    hidden = draw(st.integers(1, 7))
    if kind is nn.LSTM and hidden > 1:
        options["proj_size"] = draw(st.integers(0, hidden - 1))
    inputs = [SERIES if options["batch_first"] else TIME_MAJOR]
    if draw(st.booleans()):
        depth = options["num_layers"] * (1 + options["bidirectional"])
        if kind is nn.LSTM:
            h_size = options.get("proj_size") or hidden
            inputs += [f"hx.0:float32[{depth},batch,{h_size}]", f"hx.1:float32[{depth},batch,{hidden}]"]
        else:
            inputs.append(f"hx:float32[{depth},batch,{hidden}]")
    return kind(5, hidden, **options), inputs


@given(configuration=layers())
@settings(few_examples(), derandomize=True)
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_any_configuration(check, ops, configuration):
    layer, inputs = configuration
    captured = check(layer, *inputs, engines=["onnxruntime"])
    assert sum(op in ("LSTM", "GRU") for op in ops(captured)) == layer.num_layers


@pytest.mark.slow
@given(configuration=layers())
@settings(max_examples=100)
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_any_configuration_in_all_runtimes(check, ops, configuration):
    layer, inputs = configuration
    captured = check(layer, *inputs)
    assert sum(op in ("LSTM", "GRU") for op in ops(captured)) == layer.num_layers


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_deep_bidirectional_stack_without_bias(check, kind):
    check(kind(5, 4, num_layers=4, bidirectional=True, bias=False), TIME_MAJOR)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_input_without_batch(check, kind):
    check(kind(5, 6, bidirectional=True, batch_first=True), "input:float32[time,5]")


def test_initial_states_as_graph_inputs(check):
    captured = check(nn.LSTM(5, 4, num_layers=2), TIME_MAJOR, "hx.0:float32[2,batch,4]", "hx.1:float32[2,batch,4]")
    assert [value.name for value in captured.model.graph.inputs] == ["input", "hx.0", "hx.1"]


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("states", [[], ["hx.0:float32[4,batch,3]", "hx.1:float32[4,batch,6]"]], ids=["zeros", "given"])
def test_projection(check, ops, states):
    captured = check(nn.LSTM(5, 6, num_layers=2, bidirectional=True, proj_size=3), TIME_MAJOR, *states)
    assert ops(captured).count("LSTM") == 2


class ZeroStates(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 4, 2)

    def forward(self, x):
        zeros = torch.zeros(2, x.shape[1], 4, dtype=x.dtype)
        return self.rnn(x, (zeros, x.new_zeros(2, x.shape[1], 4)))[0]


def test_states_of_zeros_are_left_out(check, ops):
    captured = check(ZeroStates(), TIME_MAJOR.replace("input", "x"))
    assert "Expand" not in ops(captured)
    assert all(len(node.inputs) == 4 for node in captured.model.graph if node.op_type == "LSTM")


@pytest.mark.parametrize("opset_version", [18, 19, 21, 22])
def test_other_operator_sets(check, opset_version):
    captured = check(nn.GRU(5, 4), TIME_MAJOR, opset_version=opset_version)
    assert captured.model.opset_imports == {"": opset_version}


def test_float16_runs_close_to_the_float32_layer():
    from rnnexport.capture import capture, parse_input_spec

    captured = capture(nn.LSTM(5, 4).half(), [parse_input_spec("input:float16[time,batch,5]")])
    assert {value.dtype.name for value in captured.model.graph.outputs} == {"FLOAT16"}
