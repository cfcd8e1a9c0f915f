"""Fused operators with weights of 8 bits: computed with (DynamicQuantizeLSTM) or only stored."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from rnnexport.errors import ExportError
from rnnexport.passes.dynamic_lstm import DynamicLstm, why_not_dynamic
from rnnexport.passes.lengths import ExactLengths
from rnnexport.passes.weight_only_int8 import WeightOnlyInt8
from rnnexport.versions import lacks_vnni
from tests.examples import few_examples

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=4)
DIRECTIONS = ["forward", "reverse", "bidirectional"]


def rewritten(model, rewrite):
    model = ir.from_proto(model)
    assert rewrite(model).modified
    proto = ir.to_proto(model)
    assert not rewrite(model).modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == proto.SerializeToString(deterministic=True)
    return proto


def assert_close(actual, expected, atol):
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.skipif(lacks_vnni(), reason="without VNNI DynamicQuantizeLSTM saturates")
@given(
    direction=st.sampled_from(DIRECTIONS),
    lengths=LENGTHS,
    bias=st.booleans(),
    states=st.booleans(),
    seed=st.integers(0, 9),
)
@few_examples()
def test_dynamic_lstm_is_near_the_operator(stack, load, direction, lengths, bias, states, seed):
    """Padding of 1e30 would take the whole scale of X."""
    drawn = stack("LSTM", direction, layers=2, hidden=16, bias=bias, states=states, seed=seed)
    feeds = drawn.feeds(lengths, max(lengths), padding=1e30)
    model = rewritten(drawn.model(), DynamicLstm())
    assert [node.op_type for node in model.graph.node].count("DynamicQuantizeLSTM") == 2
    assert not any(tensor.name in ("W.0", "R.0") for tensor in model.graph.initializer)
    assert_close(load(model, "onnxruntime").run(feeds), drawn.expected(feeds), atol=0.25)


def test_dynamic_lstm_leaves_what_it_cannot_do(stack):
    gru = ir.from_proto(stack("GRU").model())
    assert not DynamicLstm()(gru).modified
    frozen = ir.from_proto(stack("LSTM", "reverse").model())
    ExactLengths()(frozen)
    (lstm,) = (node for node in frozen.graph if node.op_type == "LSTM")
    assert why_not_dynamic(lstm) == "some columns of W are too large to share a scale with the others"
    assert not DynamicLstm(["rnn.0"])(ir.from_proto(stack("LSTM").model())).modified


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@given(data=st.data(), lengths=LENGTHS)
@few_examples()
def test_stored_weights_are_near_the_operator(engine, stacks, load, data, lengths):
    drawn = data.draw(stacks.filter(lambda drawn: drawn.opset >= 13))
    model = ir.from_proto(drawn.model())
    ExactLengths()(model)
    feeds = drawn.feeds(lengths, max(lengths), padding=float("nan"))
    stored = rewritten(ir.to_proto(model), WeightOnlyInt8())
    assert_close(load(stored, engine).run(feeds), drawn.expected(feeds), atol=0.1)


def test_stored_weights_take_a_quarter(stack):
    model = stack("GRU", inputs=200, hidden=200, outputs=("Y_h",)).model()
    assert 3.8 < model.ByteSize() / rewritten(model, WeightOnlyInt8()).ByteSize() < 4


def test_large_columns_in_between_keep_their_weights_float32(stack, load):
    model = stack("GRU", inputs=4, hidden=8).model()
    w = numpy_helper.to_array(model.graph.initializer[0]).copy()
    w[:, :, 1] = 1e4
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(w, "W.0"))
    stored = rewritten(model, WeightOnlyInt8())
    kept = {tensor.name: tensor.data_type for tensor in stored.graph.initializer}
    assert kept["W.0"] == onnx.TensorProto.FLOAT
    assert "R.0" not in kept


def test_an_old_operator_set_is_refused(stack):
    with pytest.raises(ExportError, match="weights of 8 bits need operator set 13, the model has 11; convert it"):
        WeightOnlyInt8()(ir.from_proto(stack("GRU", opset=11).model()))
