"""The scale of a model's inputs, read off its own normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from rnnexport.exporting.onnx_source import drawn_cases, named_inputs
from rnnexport.parity.onnx_float64 import Float64Model
from tests.parity.drawn_graphs import CHANNELS, Drawn

Step = tuple[str, Any]
CONSTANTS = st.one_of(st.floats(0.01, 100), st.lists(st.floats(0.01, 100), min_size=CHANNELS, max_size=CHANNELS))
STEPS = st.one_of(st.tuples(st.sampled_from(["Add", "Sub", "rsub", "Mul", "Div"]), CONSTANTS), st.just(("swap", None)))


def chain(steps: list[Step], normalization: bool) -> Any:
    """A graph whose only output is what the steps make of x [batch, time, channels]."""
    drawn, value, last = Drawn(0), "x", True
    for op_type, constant in steps:
        if op_type == "swap":
            value, last = drawn.node("Transpose", value, perm=[0, 2, 1]), not last
            continue
        array = np.array(constant, np.float32)
        other = drawn.constant(array if last or not array.ndim else array[:, None])
        operands = (other, value) if op_type == "rsub" else (value, other)
        value = drawn.node("Sub" if op_type == "rsub" else op_type, *operands)
    if normalization:
        value = drawn.node("Transpose", value, perm=[0, 2, 1]) if last else value
        ones, zeros = drawn.constant(np.ones(CHANNELS, np.float32)), drawn.constant(np.zeros(CHANNELS, np.float32))
        mean, variance = drawn.constant(np.arange(CHANNELS, dtype=np.float32) * 40), drawn.positive(CHANNELS)
        value = drawn.node("BatchNormalization", value, ones, zeros, mean, variance)
    return finished(drawn, value)


def finished(drawn: Drawn, value: str, dtype: int = TensorProto.FLOAT) -> Any:
    x = helper.make_tensor_value_info("x", dtype, ["batch", "time", CHANNELS])
    made = helper.make_graph(
        drawn.nodes, "chain", [x], [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)], drawn.constants
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def usual(model: Any) -> NDArray[np.float64]:
    """What the graph makes of inputs at its scale: of mean + u · deviation, for one u."""
    (info,) = named_inputs(ir.from_proto(model))
    u = np.full((2, 3, CHANNELS), 0.7)
    if info.scale is not None:
        mean, deviation = info.scale.broadcast(3)
        u = mean + u * deviation
    (made,) = Float64Model(model).run({"x": u}).values()
    return made


@given(st.lists(STEPS, max_size=5), st.booleans())
@example([("Mul", 2.0), ("Add", 1.0), ("Sub", 1.0)], False)
def test_inputs_at_the_scale_are_usual_behind_the_normalisation(steps: list[Step], normalization: bool) -> None:
    model = chain(steps, normalization)
    made = usual(model)
    (of_zeros,) = Float64Model(model).run({"x": np.zeros((2, 3, CHANNELS))}).values()
    if np.all(of_zeros == 0):  # nothing is added, and only what becomes smaller is taken for a scale
        assert np.abs(made).max() >= 0.7 * (1 - 1e-5)
    else:
        np.testing.assert_allclose(np.abs(made), 0.7, rtol=1e-3)


def test_drawn_inputs_are_at_the_scale_and_stress_inputs_are_called_so() -> None:
    model = ir.from_proto(chain([("Sub", 300.0), ("Div", 50.0)], normalization=False))
    for case in drawn_cases(model):
        if case.values == "normal":
            assert abs(case.feeds["x"].mean() - 300) < 100
        assert (case.values != "normal") == case.name.endswith("inputs (stress)")


def test_integers_are_drawn_over_the_range_that_is_scaled_down() -> None:
    drawn = Drawn(0)
    value = drawn.node("Cast", "x", to=TensorProto.FLOAT)
    model = finished(drawn, drawn.node("Div", value, drawn.constant(np.float32(255))), TensorProto.UINT8)
    case = drawn_cases(ir.from_proto(model))[0]
    assert case.feeds["x"].dtype == np.uint8
    assert case.feeds["x"].max() > 200


@pytest.mark.parametrize("second_reader", ["Relu", "Identity"])
def test_an_input_that_something_else_reads_has_no_known_scale(second_reader: str) -> None:
    drawn = Drawn(0)
    centred = drawn.node("Sub", "x", drawn.constant(np.float32(300)))
    model = finished(drawn, drawn.node("Mul", centred, drawn.node(second_reader, "x")))
    assert named_inputs(ir.from_proto(model))[0].scale is None


@pytest.mark.parametrize("wrong", ["perm", "constant"])
def test_nodes_that_contradict_the_input_tell_no_scale(wrong: str) -> None:
    drawn = Drawn(0)
    if wrong == "perm":
        value = drawn.node("Transpose", "x", perm=[0, 2, 1, 3])
    else:
        value = drawn.node("Add", "x", drawn.constant(np.ones((2, CHANNELS), np.float32)))
        value = drawn.node("Sub", value, drawn.constant(np.ones((3, CHANNELS), np.float32)))
    (info,) = named_inputs(ir.from_proto(finished(drawn, value)))
    assert info.scale is None
