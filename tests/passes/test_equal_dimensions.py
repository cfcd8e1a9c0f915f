"""Inputs whose dimensions have names of their own, as converters from TensorFlow write them, are drawn so as to fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import rnnexport
from rnnexport.exporting.onnx_source import named_inputs
from rnnexport.passes.equal_dimensions import EqualDimensions
from tests.graphs import Graph, value

HIDDEN, FEATURES = 6, 4


def encoder(*, named: bool = True) -> onnx.ModelProto:
    """A GRU over x, less what a mask takes away, from given states; every dimension has a name of its own, or none."""
    g = Graph(opset=17)
    kept = g.op("Unsqueeze", "mask", g.constant([2], np.int64))
    x = g.op("Transpose", g.op("Mul", "x", kept), perm=[1, 0, 2])
    g.op("GRU", x, *g.weights("GRU", FEATURES, HIDDEN), "", "", "h", outputs=["Y", "Y_h"], hidden_size=HIDDEN)

    def shape(*numbers: int) -> list[Any]:
        return [f"unk__{n}" if named else None for n in numbers]

    inputs = [value("x", [*shape(1, 2), FEATURES]), value("mask", shape(3, 4)), value("h", [1, *shape(5), HIDDEN])]
    made = onnx.helper.make_graph(g.nodes, "encoder", inputs, [value("Y", None), value("Y_h", None)], g.constants)
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("named", [True, False])
def test_dimensions_that_meet_in_the_graph_are_one(named: bool) -> None:
    x, mask, h = named_inputs(ir.from_proto(encoder(named=named)))
    batch, time, _ = x.shape
    assert batch != time
    assert (mask.shape, h.shape) == ((batch, time), (1, batch, HIDDEN))
    assert [info.batch_axis for info in (x, mask, h)] == [0, 0, 1]


def test_a_second_run_changes_nothing_and_different_lengths_stay_apart() -> None:
    model = ir.from_proto(encoder())
    assert EqualDimensions()(model).modified
    assert not EqualDimensions()(model).modified
    apart = encoder()
    del apart.graph.node[1]  # nothing multiplies x by the mask any more
    apart.graph.node[1].input[0] = "x"
    names = {d for info in named_inputs(ir.from_proto(apart)) for d in info.shape if isinstance(d, str)}
    assert {"unk__3", "unk__4"} <= names


def test_every_drawn_call_of_such_a_file_is_judged(tmp_path: Path) -> None:
    onnx.save(encoder(), tmp_path / "model.onnx")
    bundle = rnnexport.export(tmp_path / "model.onnx", tmp_path / "bundle")
    assert bundle.manifest.reference is not None
    assert bundle.manifest.reference.outside == ()
