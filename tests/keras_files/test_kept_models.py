"""Files that Keras 2.15 and Keras 3 wrote give what Keras answered, in NumPy and in both runtimes."""

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from rnnexport.bundle.manifest import Source
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.writing import input_infos, save_graph
from rnnexport.keras_files.archive import read_keras_file
from rnnexport.keras_files.reference import evaluate
from rnnexport.keras_files.typed_model import read_model
from rnnexport.keras_files.writing import write_model

MODELS = Path(__file__).with_name("models.tar.xz")
with tarfile.open(MODELS) as _archive:
    FILES = [name for name in _archive.getnames() if name.endswith((".keras", ".h5"))]


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_what_keras_answered(name, kept, tmp_path):
    model = read_model(read_keras_file(kept / name))
    with np.load((kept / name).with_suffix(".npz")) as arrays:
        x = arrays["input"]
        expected = [arrays[f"output_{number}"] for number in range(len(arrays) - 1)]
    feeds = {model.inputs[0].name: x}
    for answer, right in zip(evaluate(model, feeds).values(), expected, strict=True):
        np.testing.assert_allclose(answer, right, rtol=3e-7, atol=2e-7)

    graphs = Graphs.make(write_model(model), ExportOptions())
    assert not any(node.op_type == "Scan" for node in graphs.sequence.graph) or "three_cells" in name
    save_graph(graphs.sequence, Source(kind="keras", name=name), input_infos(graphs.sequence), tmp_path / "model.onnx")
    for engine in ("onnxruntime", "openvino"):
        definition = Definition(name="x", engine=engine, precision="float32", threads=1)
        outputs = get_engine(engine).load(tmp_path / "model.onnx", definition).run(feeds)
        for tensor, right in zip(model.outputs, expected, strict=True):
            np.testing.assert_allclose(outputs[tensor.name], right, atol=1e-6)


def test_an_export_loads_neither_pytorch_nor_sympy(kept, tmp_path):
    arguments = ["rnnexport", "export", str(kept / "keras3/article.keras"), "--out", str(tmp_path / "bundle")]
    code = f"import sys; sys.argv = {arguments}\nfrom rnnexport.cli import main\n"
    code += "try: main()\nexcept SystemExit: print(sorted({'torch', 'sympy.core'} & set(sys.modules)), file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == "[]"
