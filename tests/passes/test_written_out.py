"""Written-out cells become operators that give the same; what only looks like a cell stays as it is."""

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rnnexport.passes.fuse_cells import FuseCells
from tests.examples import few_examples
from tests.passes.written_cells import GATES, WRITTEN, Written, scan_model


def fused(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    """The model after the pass, which is also applied a second time, and whether that did anything."""
    graph = ir.from_proto(model)
    modified = FuseCells()(graph).modified
    assert not FuseCells()(graph).modified
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    for kind in ("input", "output"):
        assert [v.name for v in getattr(model.graph, kind)] == [v.name for v in getattr(result.graph, kind)]
    return result, modified


def operators(model: onnx.ModelProto) -> Counter:
    return Counter(node.op_type for node in model.graph.node)


def assert_same(load, model, result, feeds):
    before, after = (load(each, "onnxruntime").run(feeds) for each in (model, result))
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, atol=1e-5, err_msg=name)


@given(written=WRITTEN)
def test_a_layer_becomes_one_operator(load, written):
    model = written.model()
    result, modified = fused(model)
    found = operators(result)
    assert modified
    assert found["LSTM" if written.cell == "lstm" else "GRU"] == written.layers
    assert not found["Sigmoid"] + found["MatMul"] + found["Gemm"]
    assert_same(load, model, result, written.feeds(model))


LOOK_ALIKES = [(cell, change) for cell in GATES for change in ("coupled", "activation", "normalised", "weights")]


@pytest.mark.parametrize(("cell", "change"), [*LOOK_ALIKES, ("lstm", "no tanh")])
def test_what_only_looks_like_a_cell_stays(cell, change):
    model = Written(cell=cell).model(change)
    result, modified = fused(model)
    assert not modified
    assert operators(result) == operators(model)


@pytest.mark.parametrize(("change", "written"), [("inner c", Written()), ("feedback", Written(cell="gru", inputs=4))])
def test_steps_that_cannot_be_one_operator_are_one_each(load, change, written):
    model = written.model(change)
    result, _ = fused(model)
    assert operators(result)["LSTM" if written.cell == "lstm" else "GRU"] == written.steps
    assert_same(load, model, result, written.feeds(model))


class Looped(nn.Module):
    """Cells called step by step; x [B, 5, 3] → every h of the last layer [B, 5, 4], and its last."""

    def __init__(self, cell, layers, bias):
        super().__init__()
        sizes = [3, *[4] * (layers - 1)]
        self.cells = nn.ModuleList(cell(size, 4, bias=bias) for size in sizes)

    def forward(self, x):
        states: list[Any] = [None] * len(self.cells)
        outputs = []
        for t in range(x.shape[1]):
            y = x[:, t]
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(y, states[layer])
                y = states[layer][0] if isinstance(cell, nn.LSTMCell) else states[layer]
            outputs.append(y)
        return torch.stack(outputs, 1), y


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("cell", "layers", "bias"), [(nn.LSTMCell, 2, True), (nn.GRUCell, 3, False)])
def test_what_pytorch_unrolls(load, tmp_path, cell, layers, bias, dynamo):
    x, path = torch.randn(2, 5, 3), tmp_path / "unrolled.onnx"
    options: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {}
    torch.onnx.export(Looped(cell, layers, bias).eval(), (x,), path, input_names=["x"], dynamo=dynamo, **options)
    model = onnx.load(path)
    result, _ = fused(model)
    assert operators(result)["LSTM" if cell is nn.LSTMCell else "GRU"] == layers
    assert len(result.graph.node) <= 4 + 2 * layers
    assert_same(load, model, result, {"x": x.numpy()})


@few_examples()
@given(written=WRITTEN, axis=st.integers(0, 1), direction=st.integers(0, 1))
def test_a_scan_of_one_cell_becomes_one_operator(load, written, axis, direction):
    model = scan_model(written, axis=axis, direction=direction)
    result, _ = fused(model)
    found = operators(result)
    assert found["LSTM" if written.cell == "lstm" else "GRU"] == 1
    assert not found["Scan"]
    assert_same(load, model, result, written.feeds(model))


@pytest.mark.parametrize("change", ["more", "activation"])
def test_a_scan_of_more_than_a_cell_stays(change):
    result, modified = fused(scan_model(Written(), change))
    assert not modified
    assert operators(result)["Scan"] == 1
