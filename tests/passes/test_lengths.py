"""Nodes without lengths give what nodes with lengths should, in every runtime."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnexport.errors import ExportError
from rnnexport.parity.recurrent_operators import evaluate
from rnnexport.passes.lengths import ExactLengths
from tests.graphs import in_both_branches

ENGINES = ["onnxruntime", "openvino"]
LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=4)


def with_exact_lengths(model):
    return ir.to_proto(ExactLengths()(ir.from_proto(model)).model)


def assert_close(actual, expected):
    """float32 against float64 after at most 3 layers of 10 steps; a wrong length is off by 0.1 and more."""
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        scale = max(1.0, np.abs(expected[name]).max(initial=0.0))
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-6 * scale, err_msg=name)


@pytest.mark.parametrize("engine", ENGINES)
@given(
    data=st.data(),
    lengths=LENGTHS,
    longer_by=st.integers(0, 1),
    padding=st.sampled_from([0.0, float("nan"), float("inf"), -1e30]),
)
def test_against_the_operator_with_lengths(engine, stacks, load, data, lengths, longer_by, padding):
    stack = data.draw(stacks)
    feeds = stack.feeds(lengths, max(1, *lengths) + longer_by, padding)
    actual = load(with_exact_lengths(stack.model()), engine).run(feeds)
    assert_close(actual, stack.expected(feeds))


ODD_FORMS = [
    ("LSTM", {"clip": 0.7}),
    ("LSTM", {"input_forget": 1}),
    ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Softsign"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
    ("LSTM", {"activations": ["Sigmoid", "Relu", "Elu"], "activation_alpha": [0.7]}),
    ("GRU", {"clip": 0.5, "linear_before_reset": 1}),
    ("GRU", {"activations": ["Softsign", "Tanh"]}),
    ("GRU", {"activations": ["HardSigmoid", "Softsign"]}),
    ("RNN", {}),
    ("RNN", {"activations": ["Relu"], "clip": 1.5}),
]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op_type", "attributes"), ODD_FORMS)
def test_against_the_operator_with_odd_attributes(op_type, attributes, direction, stack, load):
    twice = 2 if direction == "bidirectional" else 1
    attributes = {k: v * twice if isinstance(v, list) else v for k, v in attributes.items()}
    drawn = stack(op_type, direction, states=True, outputs=("Y", "Y_h"), attributes=attributes)
    feeds = drawn.feeds([5, 0, 3, 1], 5, padding=float("nan"))
    actual = load(with_exact_lengths(drawn.model()), "onnxruntime").run(feeds)
    assert_close(actual, drawn.expected(feeds))


def test_peepholes_are_kept_where_y_c_is_not_used(stack, load):
    drawn = stack("LSTM", "bidirectional", outputs=("Y", "Y_h"))
    model = drawn.model()
    peepholes = np.random.default_rng(0).standard_normal((2, 12)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(peepholes, "P"))
    model.graph.node[0].input.extend(["", "", "P"])
    feeds = drawn.feeds([5, 0, 3], 5, padding=1e30)
    y, y_h, _ = evaluate(
        "LSTM", [feeds["X"], *drawn.weights(0), feeds["lengths"], None, None, peepholes], direction="bidirectional"
    )
    assert_close(load(with_exact_lengths(model), "onnxruntime").run(feeds), {"Y.0": y, "Y_h.0": y_h})


@pytest.mark.parametrize(
    ("op_type", "attributes", "reason"),
    [
        ("LSTM", {"clip": 3.0}, "clip=3 keeps its gates from closing"),
        ("LSTM", {"activations": ["Softplus", "Tanh", "Tanh"]}, "the activation 'softplus' does not close its gates"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}, "the activation 'relu' does not bound its state"),
        ("LSTM", {"layout": 1}, "layout=1 runs in no runtime; write the node with layout=0 and Transpose"),
    ],
)
def test_refuses_what_cannot_be_exact(op_type, attributes, reason, stack):
    model = ir.from_proto(stack(op_type, attributes=attributes).model())
    before = ir.to_proto(model).SerializeToString()
    with pytest.raises(ExportError, match=rf"^node 'rnn.0' \({op_type}\): .*{reason}"):
        ExactLengths()(model)
    assert ir.to_proto(model).SerializeToString() == before


def change_weights(model, name, change):
    (tensor,) = (each for each in model.graph.initializer if each.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), name))
    return model


def test_refuses_weights_that_could_open_the_gates_again(stack):
    model = change_weights(stack("GRU", "reverse").model(), "R.0", lambda r: r * 10_000)
    assert with_exact_lengths(model)  # on reversed input nothing has to stand still
    model = change_weights(stack("LSTM").model(), "R.0", lambda r: r * 10_000)
    with pytest.raises(ExportError, match=r"its weights add up to .*, which could open the gates again"):
        with_exact_lengths(model)


def test_refuses_computed_weights_where_y_c_is_used(stack):
    model = stack("LSTM").model()
    model.graph.node.insert(0, onnx.helper.make_node("Neg", ["W.0"], ["negative_W"]))
    model.graph.node[1].input[1] = "negative_W"
    with pytest.raises(ExportError, match="its weights are computed; fold constants first"):
        with_exact_lengths(model)


def test_refuses_an_operator_set_without_the_operators_it_needs(stack):
    with pytest.raises(ExportError, match="lengths need operator set 11, the model has 10; convert it"):
        with_exact_lengths(stack("GRU", opset=10).model())


def test_refuses_directions_that_share_alphas(stack):
    activations = ["Softsign", "Tanh", "HardSigmoid", "Tanh"]
    attributes = {"activations": activations, "activation_alpha": [0.3]}
    with pytest.raises(ExportError, match="its directions share activation_alpha or activation_beta"):
        with_exact_lengths(stack("GRU", "bidirectional", attributes=attributes).model())


def operators(model):
    return [node.op_type for node in model.graph.node]


def test_second_run_changes_nothing(stack):
    model = ir.from_proto(stack("LSTM", "bidirectional", layers=2, states=True).model())
    assert ExactLengths()(model).modified
    before = ir.to_proto(model).SerializeToString()
    assert not ExactLengths()(model).modified
    assert ir.to_proto(model).SerializeToString() == before


def test_same_model_gives_the_same_names(stack):
    model = stack("LSTM", "bidirectional", layers=2, states=True).model()
    assert with_exact_lengths(model).SerializeToString() == with_exact_lengths(model).SerializeToString()


def test_names_of_the_graph_stay(stack):
    model = stack("LSTM", "bidirectional", layers=2, states=True).model()
    rewritten = with_exact_lengths(model)
    assert rewritten.graph.input == model.graph.input
    assert rewritten.graph.output == model.graph.output


def test_forward_layers_that_only_feed_each_other_stay_as_they_are(stack):
    model = with_exact_lengths(stack("LSTM", layers=3, outputs=("Y_h",)).model())
    lstms = [node for node in model.graph.node if node.op_type == "LSTM"]
    assert [list(node.input) for node in lstms] == [
        ["X", "W.0", "R.0", "B.0"],
        *([f"X.{k}", f"W.{k}", f"R.{k}", f"B.{k}"] for k in (1, 2)),
    ]
    squeezes = [node.input[0] for node in model.graph.node if node.op_type == "Squeeze"]
    assert squeezes == [node.output[0] for node in lstms[:2]]


def test_layers_share_masks_and_old_weights_are_gone(stack):
    model = with_exact_lengths(stack("GRU", "bidirectional", layers=3, outputs=("Y",)).model())
    assert operators(model).count("GRU") == 3
    assert operators(model).count("Range") == 1
    assert {tensor.name for tensor in model.graph.initializer}.isdisjoint({"W.0", "W.1", "W.2"})


def test_nodes_in_subgraphs_are_rewritten(stack, load):
    """`If` with the whole stack in both branches; lengths and X come from outside."""
    drawn = stack("GRU", "bidirectional", outputs=("Y_h",))
    feeds = drawn.feeds([5, 0, 3], 5, padding=float("nan"))
    actual = load(with_exact_lengths(in_both_branches(drawn.model())), "onnxruntime").run(
        feeds | {"choice": np.array(True)}
    )
    assert_close(actual, drawn.expected(feeds))


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_may_have_lengths_of_their_own(engine, stack, load):
    drawn = stack("GRU", layers=2, outputs=("Y", "Y_h"))
    model = drawn.model()
    model.graph.node[2].input[4] = "longer"
    model.graph.input.append(onnx.helper.make_tensor_value_info("longer", onnx.TensorProto.INT32, ["batch"]))
    feeds = drawn.feeds([2, 0, 3], 5) | {"longer": np.array([5, 3, 4], np.int32)}
    y, y_h = evaluate("GRU", [feeds["X"], *drawn.weights(0), feeds["lengths"]])
    top, top_h = evaluate("GRU", [y[:, 0], *drawn.weights(1), feeds["longer"]])
    actual = load(with_exact_lengths(model), engine).run(feeds)
    assert_close(actual, {"Y_h.0": y_h, "Y.1": top, "Y_h.1": top_h})


@pytest.mark.parametrize("engine", ENGINES)
def test_lengths_over_the_time_axis_count_as_its_end(engine, stack, load):
    drawn = stack("GRU", "bidirectional")
    feeds = drawn.feeds([3, 5], 5)
    expected = drawn.expected(feeds)
    feeds["lengths"][1] = 1_000_000  # OpenVINO's GatherND would read foreign memory
    assert_close(load(with_exact_lengths(drawn.model()), engine).run(feeds), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_initial_c_without_initial_h(engine, stack, load):
    drawn = stack("LSTM", "bidirectional", states=True)
    model = drawn.model()
    model.graph.node[0].input[5] = ""
    feeds = drawn.feeds([5, 0, 3], 5)
    feeds["initial_h.0"][:] = 0
    assert_close(load(with_exact_lengths(model), engine).run(feeds), drawn.expected(feeds))
