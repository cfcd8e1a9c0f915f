"""Layers written out give what the operators give, in every runtime; quantized ones as near as their steps allow."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from rnnexport.errors import ExportError
from rnnexport.parity.recurrent_operators import evaluate
from rnnexport.passes.fixed_time import FixedTime
from rnnexport.passes.lowering import Choices, Lowering, layers_left
from rnnexport.passes.quantizing.quantization import quantize
from rnnexport.passes.writing.matmul_kernels import FLOAT32, MatmulKernel
from rnnexport.versions import lacks_vnni
from tests.examples import few_examples
from tests.graphs import in_both_branches

CELLS = [("LSTM", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {"linear_before_reset": 0})]
LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=4)
QUANTIZED = [
    MatmulKernel("matmulnbits", 8),
    MatmulKernel("matmulnbits", 4, 32),
    MatmulKernel("dynamic"),
    MatmulKernel("dequantize"),
]


def skip_where_steps_saturate(form, product):
    """ONNX Runtime can't keep products exact without VNNI where nodes share a weight, as unrolled steps do."""
    if form == "unrolled" and product.kind == "dynamic" and lacks_vnni():
        pytest.skip("this CPU has no VNNI: products of 8 bits saturate in unrolled steps")


def lowered(model, choices, steps=None):
    model = ir.from_proto(model)
    if steps:
        FixedTime(steps)(model)
    assert Lowering(choices)(model).modified
    return ir.to_proto(model)


def assert_close(actual, expected, atol=1e-5):
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("form", ["scan", "unrolled"])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@given(data=st.data(), lengths=LENGTHS, padding=st.sampled_from([0.0, float("nan"), -1e30]))
@few_examples()
def test_written_out_is_the_operator(form, engine, stacks, load, data, lengths, padding):
    stack = data.draw(stacks)
    steps = max(1, *lengths)
    feeds = stack.feeds(lengths, steps, padding)
    model = lowered(stack.model(), Choices(form), steps if form == "unrolled" else None)
    assert {"LSTM", "GRU"}.isdisjoint(node.op_type for node in model.graph.node)
    assert_close(load(model, engine).run(feeds), stack.expected(feeds))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("form", ["scan", "unrolled"])
@pytest.mark.parametrize("product", QUANTIZED, ids=lambda product: f"{product.kind}-{product.bits}")
@given(data=st.data(), lengths=LENGTHS)
@settings(few_examples(), max_examples=settings.default.max_examples // 10)
def test_quantized_is_the_operator_with_rounded_weights(engine, form, product, stack, load, data, lengths):
    """What is left is the rounding of h to 8 bits, in ONNX Runtime: up to 1/127 in each of its elements."""
    skip_where_steps_saturate(form, product)
    op_type, attributes = data.draw(st.sampled_from(CELLS))
    direction = data.draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    drawn = stack(op_type, direction, inputs=4, hidden=data.draw(st.integers(8, 40)), attributes=attributes)
    steps = max(1, *lengths)
    feeds = drawn.feeds(lengths, steps, padding=float("nan"))
    model = lowered(drawn.model(), Choices(form, recurrent=product), steps if form == "unrolled" else None)
    w, r, b = drawn.weights(0)
    block_size = min(product.block_size, 64) if product.kind == "matmulnbits" else drawn.hidden
    rounded = np.stack([quantize(rows, product.bits, block_size).dequantized() for rows in r])
    results = evaluate(op_type, [feeds["X"], w, rounded, b, feeds["lengths"]], **drawn.all_attributes())
    expected = {f"{name}.0": array for name, array in zip(("Y", "Y_h", "Y_c"), results, strict=False)}
    assert_close(load(model, engine).run(feeds), expected, atol=0.03)
    assert np.abs(rounded - r).max() > 1e-4, "nothing was quantized"


@pytest.mark.parametrize(("op_type", "attributes"), CELLS)
def test_a_dequantized_product_has_a_bias(op_type, attributes, stack):
    """ONNX Runtime turns the three into a MatMulNBits; without, the next Add becomes a Gemm, many times slower."""
    model = lowered(stack(op_type, attributes=attributes, bias=False).model(), Choices(recurrent=QUANTIZED[3]))
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    (body,) = (attribute.g for attribute in scan.attribute if attribute.name == "body")
    constants = {tensor.name for tensor in body.initializer}
    for product in (node for node in body.node if node.op_type == "MatMul"):
        (reader,) = (node for node in body.node if product.output[0] in node.input)
        assert reader.op_type == "Add"
        assert constants & set(reader.input)


@pytest.mark.parametrize("product", QUANTIZED, ids=lambda product: f"{product.kind}-{product.bits}")
@pytest.mark.parametrize("projection", [None, MatmulKernel("dynamic")], ids=["same", "dynamic"])
def test_the_product_with_w_may_be_quantized_too(product, projection, stack, load):
    drawn = stack("GRU", "bidirectional", layers=2, inputs=20, hidden=32, attributes={"linear_before_reset": 1})
    feeds = drawn.feeds([7, 3, 0], 7, padding=float("nan"))
    model = lowered(drawn.model(), Choices(recurrent=product, projection=projection or product))
    assert_close(load(model, "onnxruntime").run(feeds), drawn.expected(feeds), atol={8: 0.05, 4: 0.5}[product.bits])


def test_very_large_columns_stay_out_of_a_quantized_product(stack, load):
    """As the column that makes a layer stand still on padding has them."""
    drawn = stack("GRU", inputs=9, hidden=16, attributes={"linear_before_reset": 1}, outputs=("Y_h",))
    model = drawn.model()
    w = numpy_helper.to_array(model.graph.initializer[0]).copy()
    w[:, :16, 4] = 1e4
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(w, "W.0"))
    feeds = drawn.feeds([8, 8], 8)
    feeds["X"][:, :, 4] = 0
    feeds["X"][5:, 0, 4] = 1
    expected = load(model, "onnxruntime").run(feeds)
    product = MatmulKernel("matmulnbits", 8, 32)
    assert_close(
        load(lowered(model, Choices(recurrent=product, projection=product)), "onnxruntime").run(feeds), expected, 0.03
    )


@pytest.mark.parametrize("padding", [np.nan, np.inf, -1e30, 1e4])
@pytest.mark.parametrize("projection", [None, MatmulKernel("dynamic")], ids=["same", "dynamic"])
@pytest.mark.parametrize("product", QUANTIZED, ids=lambda product: f"{product.kind}-{product.bits}")
def test_one_row_does_not_reach_another(product, projection, padding, stack, load):
    """A row of anything, as padding may be where the graph has no lengths any more."""
    drawn = stack("GRU", hidden=32, outputs=("Y",), attributes={"linear_before_reset": 1})
    model = drawn.model()
    del model.graph.node[0].input[4]
    del model.graph.input[1]
    feeds = {"X": drawn.feeds([6, 6], 6)["X"]}
    session = load(lowered(model, Choices(recurrent=product, projection=projection or product)), "onnxruntime")
    expected = session.run(feeds)["Y.0"][:, :, 0]
    feeds["X"][2:, 1] = padding
    np.testing.assert_allclose(session.run(feeds)["Y.0"][:, :, 0], expected, atol=0.02)


@pytest.mark.parametrize("form", ["scan", "unrolled"])
def test_a_second_run_changes_nothing_and_names_stay(form, stack):
    original = stack("LSTM", "bidirectional", layers=2, states=True).model()
    model = ir.from_proto(lowered(original, Choices(form, recurrent=QUANTIZED[0]), 4))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert not Lowering(Choices(form))(model).modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    for kind in ("input", "output"):
        assert [v.name for v in getattr(original.graph, kind)] == [
            v.name for v in getattr(ir.to_proto(model).graph, kind)
        ]
    assert {entry.domain for entry in ir.to_proto(model).opset_import} == {"", "com.microsoft"}
    assert not {"W.0", "R.0", "B.0"} & {tensor.name for tensor in ir.to_proto(model).graph.initializer}


@pytest.mark.parametrize("form", ["scan", "unrolled"])
@pytest.mark.parametrize(("op_type", "attributes"), CELLS)
@pytest.mark.parametrize("product", QUANTIZED, ids=lambda product: f"{product.kind}-{product.bits}")
def test_the_candidate_may_stay_float32(form, op_type, attributes, product, stack, load):
    """Then only the rounding of the other gates' weights is left."""
    skip_where_steps_saturate(form, product)
    drawn = stack(op_type, "bidirectional", inputs=12, hidden=32, attributes=attributes, states=True)
    feeds = drawn.feeds([6, 3, 0], 6, padding=float("nan"))
    choices = Choices(form, product, product, float32_candidates=["rnn.0"])
    actual = load(lowered(drawn.model(), choices, 6 if form == "unrolled" else None), "onnxruntime").run(feeds)
    w, r, b = drawn.weights(0)
    block_size = 32 if product.kind == "matmulnbits" else None
    for weights in (w, r):
        for rows in weights[:, :-32]:
            rows[:] = quantize(rows, product.bits, block_size or rows.shape[1]).dequantized()
    given = [feeds["X"], w, r, b, feeds["lengths"], *(feeds[f"{name}.0"] for name in drawn.state_names)]
    results = evaluate(op_type, given, **drawn.all_attributes())
    expected = {f"{name}.0": array for name, array in zip(("Y", "Y_h", "Y_c"), results, strict=False)}
    assert_close(actual, expected, atol=0.03)


def test_layers_that_are_named_stay_float32(stack):
    model = lowered(stack("GRU", layers=2).model(), Choices("unrolled", QUANTIZED[0], keep_float32=["rnn.0"]), 1)
    products = {node.output[0]: node.op_type for node in model.graph.node if "MatMul" in node.op_type}
    assert {name.partition(".forward")[0]: kind for name, kind in products.items() if "h_R" in name} == {
        "rnn.0": "MatMul",
        "rnn.1": "MatMulNBits",
    }


@pytest.mark.parametrize(
    "attributes", [{"clip": 1.0}, {"activations": ["Sigmoid", "Relu", "Tanh"]}, {"input_forget": 1}], ids=str
)
def test_other_equations_stay_as_they_are(stack, attributes):
    model = ir.from_proto(stack("LSTM", attributes=attributes).model())
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert not Lowering(Choices())(model).modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    assert layers_left(model) == ["rnn.0"]


@pytest.mark.parametrize("product", [FLOAT32, *QUANTIZED], ids=lambda product: f"{product.kind}-{product.bits}")
@given(data=st.data(), lengths=st.lists(st.integers(0, 1), min_size=1, max_size=3).filter(any))
@few_examples()
def test_one_step_is_straight_and_may_multiply_x_and_h_at_once(product, stack, load, data, lengths):
    op_type, attributes = data.draw(st.sampled_from(CELLS))
    direction = data.draw(st.sampled_from(["forward", "bidirectional"]))
    drawn = stack(op_type, direction, 2, inputs=data.draw(st.integers(3, 40)), hidden=24, attributes=attributes)
    drawn = replace(drawn, states=data.draw(st.booleans()), bias=data.draw(st.booleans()))
    feeds = drawn.feeds(lengths, 1, padding=float("nan"))
    model = lowered(drawn.model(), Choices("unrolled", product, product), 1)
    operators = [node.op_type for node in model.graph.node]
    assert "Scan" not in operators
    joint = op_type == "LSTM" or (attributes["linear_before_reset"] and product.quantizes)
    if joint and not product.mixes_rows:
        assert sum("MatMul" in operator for operator in operators) == drawn.layers * drawn.directions
    atol = {FLOAT32: 1e-5}.get(product, {8: 0.05, 4: 0.5}[product.bits])
    assert_close(load(model, "onnxruntime").run(feeds), drawn.expected(feeds), atol)


@pytest.mark.parametrize("form", ["scan", "unrolled"])
@pytest.mark.parametrize("op_type", ["LSTM", "GRU"])
def test_y_without_its_direction_needs_no_change_of_layout(form, op_type, stack, load):
    """Of one step, y is the last state, too, yet the graph gives both."""
    drawn = stack(op_type, layers=2, outputs=("Y", "Y_h"))
    model = drawn.model()
    model.graph.node.append(helper.make_node("Squeeze", ["Y.1", "direction_axis"], ["y"]))
    model.graph.output.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["time", "batch", 4]))
    feeds = drawn.feeds([1, 1], 1)
    expected = drawn.expected(feeds)
    expected["y"] = expected["Y.1"][:, 0]
    assert_close(load(lowered(model, Choices(form), 1), "onnxruntime").run(feeds), expected)
    model.graph.output.remove(next(value for value in model.graph.output if value.name == "Y.1"))
    del expected["Y.1"]
    leaner = lowered(model, Choices(form), 1)
    assert not any(node.op_type == "Squeeze" for node in leaner.graph.node)
    assert_close(load(leaner, "onnxruntime").run(feeds), expected)


def test_time_cannot_be_fixed_to_two_numbers(stack):
    model = ir.from_proto(stack("GRU").model())
    FixedTime(3)(model)
    assert not FixedTime(3)(model).modified
    with pytest.raises(ExportError, match="cannot be fixed to 4: the recurrent layers run over 3"):
        FixedTime(4)(model)


@given(
    rows=st.integers(1, 8),
    columns=st.integers(1, 70),
    bits=st.sampled_from([4, 8]),
    block_size=st.sampled_from([16, 32, 64]),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_codes_and_scales_are_no_worse_than_plain_rounding(rows, columns, bits, block_size, scale, seed):
    generator = np.random.default_rng(seed)
    weights = (generator.standard_normal((rows, columns)) * scale).astype(np.float32)
    weights[0] = 0
    found = quantize(weights, bits, block_size).dequantized()
    plain = np.zeros_like(weights)
    for start in range(0, columns, block_size):
        block = weights[:, start : start + block_size]
        step = np.abs(block).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
        step[step == 0] = 1
        plain[:, start : start + block_size] = np.rint(block / step) * step
    rounding = 1e-12 * np.square(weights).sum()  # of float32
    assert np.square(found - weights).sum() <= np.square(plain - weights).sum() * 1.0001 + rounding
    assert not found[0].any()


@pytest.mark.parametrize(("bits", "at_most"), [(4, 0.5), (8, 1.0)])
def test_known_inputs_make_the_product_err_less(bits, at_most):
    """Inputs of few directions, as a trained layer's states are, or of sizes that differ."""
    generator = np.random.default_rng(0)
    few_directions = generator.standard_normal((500, 8)) @ generator.standard_normal((8, 96))
    inputs = few_directions if bits == 4 else generator.standard_normal((500, 96)) * np.linspace(0.01, 2, 96) ** 2
    weights = generator.standard_normal((32, 96)).astype(np.float32)
    errors = [
        np.square(inputs @ (quantize(weights, bits, 32, moments).dequantized() - weights).T).mean()
        for moments in (None, inputs.T @ inputs)
    ]
    assert errors[1] < at_most * errors[0]


def test_a_node_in_a_body_is_written_out(stack, load):
    """`If` with a layer in both branches, whose X comes from outside."""
    drawn = stack("GRU", outputs=("Y_h",), attributes={"linear_before_reset": 1})
    feeds = drawn.feeds([5, 0, 3], 5, padding=float("nan"))
    actual = load(lowered(in_both_branches(drawn.model()), Choices()), "onnxruntime").run(
        feeds | {"choice": np.array(True)}
    )
    assert_close(actual, drawn.expected(feeds))
