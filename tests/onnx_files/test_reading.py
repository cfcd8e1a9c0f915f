"""Files of any origin are read safely: what is wrong is said in one line, and the file stays as it is."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnexport.bundle.bundle import reference_bundles
from rnnexport.errors import InputError
from rnnexport.onnx_files.reading import external_files, read_model
from tests.graphs import Graph

REFERENCE = reference_bundles()[1] / "model.onnx"


def _save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _change(path: Path, change) -> Path:
    model = onnx.load(REFERENCE)
    change(model)
    return _save(model, path)


def _old(model):
    model.opset_import[0].version = 10


def _future(model):
    model.opset_import[0].version = 99


def _foreign(model):
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    model.graph.node.append(helper.make_node("Magic", ["x"], ["unused"], domain="com.example"))


def _outside(model):
    _externalize(model, "../weights.bin")


def _absolute(model):
    _externalize(model, "/etc/passwd")


def _missing(model):
    _externalize(model, "weights.bin")


def _externalize(model, location):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_old, "is of operator set 10; this version reads 11 to"),
        (_future, "is of operator set 99"),
        (_foreign, "uses operators of the domain 'com.example'"),
        (_outside, r"names external data outside its folder, '\.\./weights\.bin'"),
        (_absolute, "outside its folder, '/etc/passwd'"),
        (_missing, r"its external data 'weights\.bin' is missing or no regular file"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(change, message, tmp_path):
    path = _change(tmp_path / "model.onnx", change)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        read_model(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no graph"),
        (b"PK\x03\x04 a zip file, perhaps", "is no ONNX file"),
        (REFERENCE.read_bytes()[:-1000], "is truncated or damaged"),
    ],
)
def test_what_is_no_onnx_file(content, message, tmp_path):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_model(tmp_path / "model.onnx")


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_model(tmp_path / "model.onnx")


def test_external_data_in_the_folder_is_found(tmp_path):
    model = onnx.load(REFERENCE)
    name, expected = model.graph.initializer[0].name, numpy_helper.to_array(model.graph.initializer[0])
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert external_files(tmp_path / "m.onnx") == ["weights.bin"]
    values = read_model(tmp_path / "m.onnx").graph.initializers
    np.testing.assert_array_equal(values[name].const_value.numpy(), expected)


@pytest.mark.timeout(300)
def test_a_graph_of_a_hundred_thousand_nodes_is_read(tmp_path):
    g, last = Graph(), "x"
    for _ in range(100_000):
        last = g.op("Identity", last)
    path = _save(g.model({"x": [1]}, {last: [1]}), tmp_path / "m.onnx")
    assert len(read_model(path).graph) == 100_000
