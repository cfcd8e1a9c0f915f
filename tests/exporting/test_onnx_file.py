"""A graph is written whole, whatever made it."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from rnnexport.engines.contract import Definition
from rnnexport.exporting.onnx_file import write_onnx
from rnnexport.runtime.worker import infer


def test_weights_have_the_names_that_the_graph_reads_them_by(tmp_path: Path) -> None:
    """Their tensors may have none, or another graph's."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    tape = Tape()
    weight = np.array([3, 5], np.float32)
    unnamed = tape.initializer(ir.tensor(weight), name="unnamed")
    other = tape.initializer(ir.tensor(weight, name="of another graph"), name="other")
    y = tape.op("Mul", [tape.op("Mul", [x, unnamed]), other], output=ir.Value(name="y", type=x.type, shape=x.shape))
    graph = ir.Graph([x], [y], nodes=tape.nodes, initializers=tape.initializers, opset_imports={"": 20}, name="graph")
    write_onnx(ir.Model(graph, ir_version=10), tmp_path / "model.onnx")
    runtime = Definition(name="ort-cpu", engine="onnxruntime", precision="float32", threads=1)
    (result,) = infer(tmp_path / "model.onnx", runtime, [{"x": np.ones(2, np.float32)}])
    assert result.checked().outputs["y"].tolist() == [9, 25]
