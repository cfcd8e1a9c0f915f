"""A file that contradicts itself is refused where it enters, in one line, before it takes memory or time."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rnnexport.bundle.bundle import reference_bundles
from rnnexport.errors import InputError
from rnnexport.onnx_files.reading import read_model
from rnnexport.passes.recognising.input_kinds import input_kinds

REFERENCE = reference_bundles()[1] / "model.onnx"


def _cell(model):
    return next(node for node in model.graph.node if node.op_type == "GRU")


def _set(model, name, **value):
    kept = [attribute for attribute in _cell(model).attribute if attribute.name != name]
    del _cell(model).attribute[:]
    _cell(model).attribute.extend([*kept, helper.make_attribute(name, value["to"])])


def _weight(model, position=1):
    return next(t for t in model.graph.initializer if t.name == _cell(model).input[position])


def _outside(model, **entries):
    tensor = _weight(model)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "weights.bin"} | entries).items():
        tensor.external_data.add(key=key, value=value)


CHANGES = {
    "an input that no node makes": (lambda m: _cell(m).input.__setitem__(0, "nope"), "input 'nope' of node"),
    "an unknown direction": (lambda m: _set(m, "direction", to="sideways"), "direction 'sideways' is none of forward"),
    "no text": (lambda m: _set(m, "direction", to=b"\xff\xfe"), "attribute 'direction' is no text"),
    "no name": (lambda m: m.graph.node.add(op_type="Identity", input=["x"], output=["a\nb"]), "cannot be printed"),
    "a NUL": (lambda m: _outside(m, location="a\x00b"), "names external data"),
    "beyond the file": (lambda m: _outside(m, offset="4096"), "ends at byte"),
    "before the file": (lambda m: _outside(m, offset="-8"), "ends at byte"),
    "another length": (lambda m: _outside(m, length="12"), "is 12 bytes, the tensor"),
    "raw data cut": (lambda m: setattr(_weight(m), "raw_data", _weight(m).raw_data[:-4]), "bytes and holds"),
    "values too few": (lambda m: m.graph.initializer.add(name="w", data_type=1, dims=[3]), "3 values and holds 0"),
    "a huge weight": (lambda m: _weight(m).dims.__setitem__(0, 2**40), "declares .* bytes and holds"),
    "a negative size": (lambda m: _weight(m).dims.__setitem__(0, -1), "has a dimension of -1"),
    "a huge input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 2**31 - 1),
        "declares .* elements, more than",
    ),
    "weights of two sizes": (lambda m: _set(m, "hidden_size", to=32), r"with hidden_size 32 it must be"),
    "a type that does not fit": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING),
        "contradicts itself",
    ),
    "no output": (lambda m: m.graph.ClearField("output"), "it has no output"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_what_contradicts_itself_is_refused(change, message, tmp_path):
    model = onnx.load(REFERENCE)
    change(model)
    path = tmp_path / "model.onnx"
    (tmp_path / "weights.bin").write_bytes(bytes(64))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=message) as refused:
        read_model(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_a_name_that_is_no_text_is_refused(tmp_path):
    damaged = REFERENCE.read_bytes().replace(b"rnn.layer0", b"rnn.l\xffyer0")
    (tmp_path / "m.onnx").write_bytes(damaged)
    with pytest.raises(InputError, match="is no text"):
        read_model(tmp_path / "m.onnx")


def test_a_long_chain_of_nodes_is_no_reason_to_recurse(tmp_path):
    info, steps = helper.make_tensor_value_info, 5_000
    nodes = [helper.make_node("Identity", [f"v{i}"], [f"v{i + 1}"]) for i in range(steps)]
    nodes.append(helper.make_node("Gather", ["table", f"v{steps}"], ["y"]))
    table = helper.make_tensor("table", TensorProto.FLOAT, [7, 2], np.zeros(14))
    ends = [info("v0", TensorProto.INT64, ["batch"])], [info("y", TensorProto.FLOAT, ["batch", 2])]
    model = helper.make_model(helper.make_graph(nodes, "g", *ends, [table]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (kind,) = input_kinds(read_model(tmp_path / "m.onnx")).values()
    assert (kind.role, kind.upper_bound) == ("indices", 7)
