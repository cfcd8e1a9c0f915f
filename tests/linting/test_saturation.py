"""The rule `saturates` against ONNX Runtime itself, on CPUs where products of 8 bits do overflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.linting.lint import find
from rnnexport.versions import lacks_vnni
from tests.graphs import Graph, value

COLUMNS, UNITS = 64, 8
Write = Callable[[Graph, str, str, str, str], str]
"""Takes the graph, x, the weights, a scale of 1/255 with its zero point; returns the output."""


def product(op_type: str, *, domain: str = "") -> Write:
    """A product of integers with integer or float results."""

    def write(g: Graph, x: str, weights: str, scale: str, zero: str) -> str:
        scales = [] if op_type == "MatMulInteger" else [scale, scale]
        inputs = {"QGemm": [x, scale, zero, weights, scale, g.constant(0, np.int8)]}.get(op_type, [x, weights, *scales])
        return str(g.op(op_type, *inputs, **({"domain": domain} if domain else {})))

    return write


def linear_product(g: Graph, x: str, weights: str, scale: str, zero: str) -> str:
    return str(g.op("QLinearMatMul", x, scale, zero, weights, scale, g.constant(0, np.int8), g.constant(1.0), zero))


def dequantized(g: Graph, x: str, weights: str, scale: str, zero: str) -> str:
    """As quantizers of today write it, with QuantizeLinear and DequantizeLinear."""
    operands = (
        g.op("DequantizeLinear", x, scale, zero),
        g.op("DequantizeLinear", weights, scale, g.constant(0, np.int8)),
    )
    return str(g.op("MatMul", *operands))


WRITERS: dict[str, Write] = {
    "MatMulInteger": product("MatMulInteger"),
    "MatMulIntegerToFloat": product("MatMulIntegerToFloat", domain="com.microsoft"),
    "QGemm": product("QGemm", domain="com.microsoft"),
    "QLinearMatMul": linear_product,
    "DequantizeLinear": dequantized,
}


def written(name: str, weights: NDArray[np.int8], x_type: type) -> onnx.ModelProto:
    g = Graph()
    y = WRITERS[name](g, "x", g.constant(weights, np.int8), g.constant(1 / 255), g.constant(0, x_type))
    y_type = {"MatMulInteger": np.int32, "QLinearMatMul": np.uint8}.get(name, np.float32)
    ends = [value("x", [2, COLUMNS], x_type)], [value(y, [2, UNITS], y_type)]
    made = helper.make_graph(g.nodes, "product", *ends, g.constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def answer(path: Path, x: NDArray[np.integer], level: str) -> float:
    """The first output of the largest inputs; only what is optimised gets exact products from our engine."""
    options = {"graph_optimization_level": level}
    definition = Definition(name="ort", engine="onnxruntime", precision="float32", threads=1, options=options)
    (y,) = get_engine("onnxruntime").load(path, definition).run({"x": x}).values()
    return float(y.ravel()[0])


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("largest", "x_type"), [(127, np.uint8), (64, np.uint8), (127, np.int8)])
def test_what_the_rule_finds_is_what_overflows(name: str, largest: int, x_type: type, tmp_path: Path) -> None:
    if x_type is np.int8 and name == "QLinearMatMul":
        pytest.skip("its output would be signed, too")
    path = tmp_path / "model.onnx"
    onnx.save(written(name, np.full((COLUMNS, UNITS), largest, np.int8), x_type), path)
    overflows = largest == 127 and x_type is np.uint8
    assert ("saturates" in {finding.rule for finding in find(path)}) == overflows
    if lacks_vnni() and name != "DequantizeLinear":  # which is a product of 8 bits only where it is optimised
        x = np.full((2, COLUMNS), np.iinfo(x_type).max, x_type)
        assert (answer(path, x, "disabled") < 0.9 * answer(path, x, "all")) == overflows
