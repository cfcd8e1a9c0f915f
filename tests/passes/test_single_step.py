"""Of one step, a fused operator's last state is all that is needed."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from rnnexport.passes.drop_lengths import DropLengths
from rnnexport.passes.fixed_time import FixedTime
from rnnexport.passes.single_step import SingleStep, why_not_single_step
from tests.examples import few_examples


def with_squeezed_y(drawn, *, keep_y=False):
    """The stack, which also gives y [time, batch, hidden], without lengths, for one step."""
    model = drawn.model()
    last = drawn.layers - 1
    model.graph.node.append(helper.make_node("Squeeze", [f"Y.{last}", "direction_axis"], ["y"]))
    shape = ["time", "batch", drawn.hidden]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, shape))
    if not keep_y:
        model.graph.output.remove(next(value for value in model.graph.output if value.name == f"Y.{last}"))
    model = ir.from_proto(model)
    DropLengths()(model)
    FixedTime(1)(model)
    return model


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@given(
    op_type=st.sampled_from(["LSTM", "GRU"]),
    layers=st.integers(1, 3),
    direction=st.sampled_from(["forward", "reverse"]),
    states=st.booleans(),
    outputs=st.sampled_from([("Y", "Y_h", "Y_c"), ("Y",), ("Y", "Y_c")]),
    keep_y=st.booleans(),
    batch=st.integers(1, 3),
)
@few_examples()
def test_the_state_stands_for_the_step(engine, stack, load, op_type, layers, direction, states, outputs, keep_y, batch):
    drawn = stack(op_type, direction, layers, states=states, outputs=outputs)
    feeds = drawn.feeds([1] * batch, 1)
    expected = drawn.expected(feeds)
    expected["y"] = expected[f"Y.{layers - 1}"][:, 0]
    if not keep_y:
        del expected[f"Y.{layers - 1}"]
    model = with_squeezed_y(drawn, keep_y=keep_y)
    returned_twice = "Y_h" in outputs
    assert SingleStep()(model).modified == (layers > 1 or not returned_twice)
    assert [node.op_type for node in model.graph].count("Squeeze") == returned_twice
    del feeds["lengths"]
    actual = load(ir.to_proto(model), engine).run(feeds)
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-5, err_msg=name)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert not SingleStep()(model).modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: None, "it has lengths"),
        (DropLengths(), "it runs over more than one time step"),
    ],
    ids=["lengths", "time"],
)
def test_other_nodes_stay(change, reason, stack):
    model = ir.from_proto(stack("GRU", layers=2).model())
    if reason == "it has lengths":
        FixedTime(1)(model)
    change(model)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert not SingleStep()(model).modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    (node, _) = (node for node in model.graph if node.op_type == "GRU")
    assert why_not_single_step(node).startswith(reason)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
