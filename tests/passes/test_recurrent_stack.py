"""Recurrent nodes as one RecurrentStack compute what they did, in any number of layers and with any lengths."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_ir.passes.common import ShapeInferencePass

from rnnexport.onnx_files.operators import GATES, STACK
from rnnexport.optimizing.options import Rewrite
from rnnexport.optimizing.rewrite import apply
from rnnexport.passes.lengths import ExactLengths
from rnnexport.passes.recurrent_stack import RecurrentStack, StackChoices, why_not_stackable
from tests.graphs import Graph

kernels = pytest.importorskip("rnnexport_kernels", reason="rnnexport-kernels is not installed")
TIME, BATCH, INPUTS, HIDDEN = 7, 3, 5, 8
LIMITS = {32: 4e-6, 16: 1e-3, 8: 0.15}
"""Largest difference, by the bits of the weights, of outputs of size 1 after at most three layers."""


def recurrent_model(
    op_type: str, layers: int, directions: int, lengths: bool, states: bool, batch_first: bool = False
) -> onnx.ModelProto:
    """Layers on each other; every layer's last states are outputs where it has initial ones."""
    g, columns = Graph(), INPUTS
    axes = ["batch", "time"] if batch_first else ["time", "batch"]
    x = g.op("Transpose", "x", perm=[1, 0, 2]) if batch_first else "x"
    inputs: dict[str, Any] = {"x": [*axes, INPUTS]} | ({"lengths": ["batch"]} if lengths else {})
    outputs: dict[str, Any] = {}
    letters = "hc" if op_type == "LSTM" else "h"
    for n in range(layers):
        weights = g.weights(op_type, columns, HIDDEN, (f"W{n}", f"R{n}"), directions=directions, seed=n)
        bias = np.random.default_rng(n).normal(scale=0.3, size=(directions, 2 * len(GATES[op_type]) * HIDDEN))
        given_states = [f"{letter}_0_l{n}" for letter in letters] if states else []
        final = [f"{letter}_n_l{n}" for letter in letters] if states else []
        inputs |= {name: [directions, "batch", HIDDEN] for name in given_states}
        outputs |= {name: [directions, "batch", HIDDEN] for name in final}
        form = {"linear_before_reset": 1} if op_type == "GRU" else {}
        direction = "bidirectional" if directions == 2 else "forward"
        g.op(
            op_type, x, *weights, g.constant(bias), "lengths" if lengths else "", *given_states,
            outputs=[f"Y{n}", *final], name=f"layer{n}", hidden_size=HIDDEN, direction=direction, **form,
        )  # fmt: skip
        transposed = g.op("Transpose", f"Y{n}", perm=[0, 2, 1, 3])
        x, columns = g.op("Reshape", transposed, g.constant([0, 0, -1], np.int64)), directions * HIDDEN
    if batch_first:
        g.op("Transpose", x, outputs=["y"], perm=[1, 0, 2])
    else:
        g.op("Identity", x, outputs=["y"])
    return g.model(inputs, {"y": [*axes, columns], **outputs}, {"lengths": np.int32}, ir_version=10)


def calls(model: onnx.ModelProto, lengths: list[int], seed: int) -> dict[str, np.ndarray]:
    generator, feeds = np.random.default_rng(seed), {}
    for info in model.graph.input:
        sizes = [{"time": TIME, "batch": BATCH}.get(d.dim_param, d.dim_value) for d in info.type.tensor_type.shape.dim]
        drawn = generator.normal(size=sizes).astype(np.float32)
        feeds[info.name] = np.array(lengths, np.int32) if info.name == "lengths" else drawn
    return feeds


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime  # noqa: TID251 - the pass is tried without the engines

    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(kernels.library_path()))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))


@given(
    op_type=st.sampled_from(["LSTM", "GRU", "RNN"]),
    layers=st.integers(1, 3),
    directions=st.sampled_from([1, 2]),
    states=st.booleans(),
    batch_first=st.booleans(),
    lengths=st.none() | st.lists(st.integers(1, TIME), min_size=BATCH, max_size=BATCH),
    exact=st.booleans(),
    bits=st.sampled_from([32, 16, 8]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_a_stack_gives_what_its_layers_gave(
    op_type: str,
    layers: int,
    directions: int,
    states: bool,
    batch_first: bool,
    lengths: Any,
    exact: bool,
    bits: Any,
    seed: int,
) -> None:
    original = recurrent_model(op_type, layers, directions, lengths is not None, states, batch_first)
    model = ir.from_proto(original)
    if lengths and exact and op_type != "RNN":
        ExactLengths()(model)
    ShapeInferencePass()(model)
    RecurrentStack(StackChoices(bits))(model)
    rewritten = ir.to_proto(model)
    onnx.checker.check_model(rewritten)
    assert not [node for node in rewritten.graph.node if node.op_type in GATES]
    feeds = calls(original, lengths or [], seed)
    expected, found = run(original, feeds), run(rewritten, feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=LIMITS[bits], rtol=0)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
def test_consecutive_layers_become_one_node(directions: int, lengths: bool) -> None:
    model = ir.from_proto(recurrent_model("GRU", 3, directions, lengths, states=False))
    if lengths:
        ExactLengths()(model)
    ShapeInferencePass()(model)
    RecurrentStack(StackChoices())(model)
    (stack,) = [node for node in model.graph if node.op_type == STACK]
    assert stack.attributes.get_int("num_layers") == 3
    given = len(stack.inputs) > 4 and stack.inputs[4] is not None
    assert given == (lengths and directions == 2)  # one direction reads padding last, so it needs no lengths


def test_a_stream_of_batch_first_layers_is_one_node_between_its_states() -> None:
    model = ir.from_proto(recurrent_model("LSTM", 2, 1, lengths=False, states=True, batch_first=True))
    ShapeInferencePass()(model)
    RecurrentStack(StackChoices())(model)
    assert [node.op_type for node in model.graph] == ["Concat", "Concat", STACK, "Split", "Split"]
    (stack,) = [node for node in model.graph if node.op_type == STACK]
    assert stack.attributes.get_int("layout") == 1
    assert [str(size) for size in stack.outputs[0].shape or ()] == ["batch", "time", str(HIDDEN)]


def test_a_layer_that_something_else_reads_stays_a_node_of_its_own() -> None:
    proto = recurrent_model("LSTM", 2, 1, lengths=False, states=False)
    proto.graph.node.append(onnx.helper.make_node("Identity", ["Y0"], ["lower"]))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("lower", 1, ["time", 1, "batch", HIDDEN]))
    model = ir.from_proto(proto)
    ShapeInferencePass()(model)
    RecurrentStack(StackChoices())(model)
    assert [node.attributes.get_int("num_layers") for node in model.graph if node.op_type == STACK] == [1, 1]
    feeds = calls(proto, [], 0)
    expected, found = run(proto, feeds), run(ir.to_proto(model), feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=4e-6)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"clip": 1.0}, "clips"),
        ({"activations": ["Relu", "Tanh", "Tanh"]}, "activations"),
        ({"input_forget": 1}, "coupled"),
        ({"layout": 1}, "batch-major"),
    ],
)
def test_other_equations_stay(attributes: dict[str, Any], reason: str) -> None:
    g = Graph()
    g.op("LSTM", "x", *g.weights("LSTM", INPUTS, HIDDEN), outputs=["Y"], hidden_size=HIDDEN, **attributes)
    model = ir.from_proto(g.model({"x": ["time", "batch", INPUTS]}, {"Y": None}, ir_version=10))
    (node,) = list(model.graph)
    assert reason in (why_not_stackable(node) or "")
    assert not RecurrentStack(StackChoices())(model).modified


def test_fewer_bits_make_a_smaller_file() -> None:
    sizes = []
    for bits in (32, 16, 8, 4):
        model = ir.from_proto(recurrent_model("GRU", 2, 1, lengths=False, states=True))
        RecurrentStack(StackChoices(bits))(model)
        sizes.append(sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value))
    assert all(more > less for more, less in pairwise(sizes))


@pytest.mark.parametrize(
    ("weights", "asked", "written"), [("int8", None, 12), ("int8", 8, 8), ("int4", None, 8), ("int4", 12, 12)]
)
def test_activations_are_rounded_as_asked_or_as_the_weights_deserve(weights, asked, written):
    model = ir.from_proto(recurrent_model("GRU", 1, 1, False, False))
    apply(Rewrite("stack", weights, activation_bits=asked), model, lambda _: {})
    (stack,) = [node for node in model.graph if node.op_type == STACK]
    assert stack.attributes.get_int("activation_bits") == written
