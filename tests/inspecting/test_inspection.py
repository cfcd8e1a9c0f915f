"""`rnnexport show` reads layers, their weights and multiply-adds off graphs of every kind."""

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from rnnexport.bundle.bundle import reference_bundles
from rnnexport.inspecting.inspection import inspect_model
from rnnexport.onnx_files.reading import read_model
from rnnexport.optimizing.options import Rewrite
from rnnexport.optimizing.rewrite import apply
from tests.kernels.recurrent_stack import DrawnStack

LSTM, GRU = (bundle / "model.onnx" for bundle in reference_bundles())
MULTIPLY_ADDS = {LSTM: 4 * 64 * (12 + 64), GRU: 3 * 64 * (12 + 64)}


@pytest.mark.parametrize("path", MULTIPLY_ADDS, ids=["lstm", "gru"])
@pytest.mark.parametrize(
    ("rewrite", "weights"),
    [
        (Rewrite(), "float"),
        (Rewrite(lowering="unrolled", time_steps=5), "float"),
        (Rewrite(weights="int8", matmul_kernel="dynamic", input_projection="same"), "int8"),
        (Rewrite(weights="int4", matmul_kernel="matmulnbits", input_projection="same"), "int4"),
        (Rewrite(lowering="fused", weight_only_int8=True), "int8"),
        (Rewrite(lowering="fused", weights="int8"), "int8"),
        (Rewrite(lowering="stack", weights="int16"), "int16"),
    ],
    ids=str,
)
def test_every_graph_variant_shows_its_layer_with_the_same_multiply_adds(path, rewrite, weights):
    model = ir.load(path)
    if path == GRU and (rewrite.lowering, rewrite.weights) == ("fused", "int8"):
        pytest.skip("there is no fused GRU with int8 weights")
    apply(rewrite, model, lambda _: {})
    shown = inspect_model(model)
    (layer,) = shown.layers or shown.decomposed_cells
    assert layer.cell == ("LSTM" if path == LSTM else "GRU")
    assert layer.weights == weights
    assert shown.multiply_adds_per_step == layer.multiply_adds_per_step == MULTIPLY_ADDS[path]
    parameters = inspect_model(ir.load(path)).parameters
    assert 0.98 * parameters <= shown.parameters <= 1.1 * parameters  # without half a bias, with scales


def test_of_the_branches_of_an_if_one_counts():
    model = onnx.load(GRU)
    names = {value.name for value in model.graph.output}
    branches = {}
    for branch in ("then_branch", "else_branch"):
        graph = helper.make_graph([*model.graph.node], branch, [], [*model.graph.output], [*model.graph.initializer])
        branches[branch] = graph
    del model.graph.node[:], model.graph.initializer[:], model.graph.output[:]
    model.graph.input.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, []))
    model.graph.node.append(helper.make_node("If", ["condition"], [f"{name}_out" for name in names], **branches))
    model.graph.output.append(helper.make_empty_tensor_value_info("logits_out"))
    shown = inspect_model(ir.from_proto(model))
    assert len(shown.layers) == 2
    assert shown.multiply_adds_per_step == MULTIPLY_ADDS[GRU]


def test_a_stack_of_layers_is_told_with_its_states():
    shown = inspect_model(ir.from_proto(DrawnStack("gru", num_layers=3, weight_bits=(8, 8, 32) * 3).model(states=True)))
    (layer,) = shown.layers
    assert (layer.cell, layer.layers, layer.weights) == ("GRU, reset before", 3, "int8, float")
    assert shown.state_pairs == (("initial_h", "Y_h"),)


def test_layers_in_functions_of_the_file_are_seen(tmp_path):
    """As exporters wrote them that keep the modules of PyTorch apart."""
    model = onnx.load(GRU)
    outputs, inputs = [value.name for value in model.graph.output], [value.name for value in model.graph.input]
    names = [*inputs, *(tensor.name for tensor in model.graph.initializer)]
    whole = helper.make_function("module", "Net", names, outputs, [*model.graph.node], [*model.opset_import])
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.append(helper.make_node("Net", names, outputs, domain="module"))
    model.functions.append(whole)
    model.opset_import.append(helper.make_opsetid("module", 1))
    onnx.save(model, tmp_path / "model.onnx")
    shown = inspect_model(read_model(tmp_path / "model.onnx"))
    assert [layer.cell for layer in shown.layers] == ["GRU"]
    assert shown.multiply_adds_per_step == MULTIPLY_ADDS[GRU]
