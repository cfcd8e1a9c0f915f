import numpy as np
import pytest
from onnx import load, numpy_helper, save
from onnx.helper import make_tensor_value_info

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.errors import EngineError

bfloat16 = get_engine("openvino").available(Definition(name="mine", engine="openvino", precision="bfloat16"))


@pytest.fixture
def engine():
    return get_engine("openvino")


def draw_x(batch, time):
    return np.random.default_rng(0).normal(size=(batch, time, 3)).astype("float32")


@pytest.mark.skipif(not bfloat16.usable, reason=str(bfloat16.reason))
def test_bfloat16_runs_only_where_it_is_asked_for(engine, gru, define):
    x = draw_x(4, 9)
    error = {
        precision: abs(engine.load(gru[1], define("openvino", precision)).run({"x": x})["logits"] - gru[0].expected(x))
        for precision in ("float32", "bfloat16")
    }
    assert error["float32"].max() < 1e-6 < 1e-4 < error["bfloat16"].max() < 0.1


def test_options_reach_the_library(engine, gru, define):
    x = draw_x(2, 5)
    session = engine.load(gru[1], define("openvino", options={"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 2}))
    assert session.run({"x": x})["logits"] == pytest.approx(gru[0].expected(x), abs=1e-6)
    with pytest.raises(EngineError, match=r"^openvino cannot compile 'gru.onnx': .*FAST"):
        engine.load(gru[1], define("openvino", options={"PERFORMANCE_HINT": "FAST"}))


def test_static_shapes_are_compiled_for_each_shape(engine, gru, define):
    session = engine.load(gru[1], define("openvino", options={"static_shapes": True}))
    for x in draw_x(2, 5), draw_x(3, 1), draw_x(2, 5):
        assert session.run({"x": x})["logits"] == pytest.approx(gru[0].expected(x), abs=1e-6)
        assert session.bind({"x": x})()["logits"] == pytest.approx(gru[0].expected(x), abs=1e-6)


def test_static_shapes_keep_sequence_lens(engine, gru, define, tmp_path):
    """OpenVINO ignores `sequence_lens` as soon as a dimension of X is dynamic."""
    model = load(gru[1])
    model.graph.input.append(make_tensor_value_info("lengths", 6, ["batch"]))  # INT32
    next(node for node in model.graph.node if node.op_type == "GRU").input.append("lengths")
    save(model, tmp_path / "lengths.onnx")
    session = engine.load(tmp_path / "lengths.onnx", define("openvino", options={"static_shapes": True}))
    x = draw_x(2, 6)
    logits = session.run({"x": x, "lengths": np.array([6, 2], "int32")})["logits"]
    assert logits == pytest.approx(np.concatenate([gru[0].expected(x[:1]), gru[0].expected(x[1:, :2])]), abs=1e-6)


def test_names_of_outputs_that_are_one_tensor(engine, add_model, define):
    model = load(add_model)
    model.graph.node.add(op_type="Identity", input=["sum"], output=["total"])
    model.graph.output.append(make_tensor_value_info("total", 1, ["k"]))
    save(model, add_model)
    ones = np.ones(2, "float32")
    outputs = engine.load(add_model, define("openvino")).run({"a": ones, "b": ones})
    assert {name: array.tolist() for name, array in outputs.items()} == {"sum": [2, 2], "total": [2, 2]}


def test_constant_weights_are_not_compressed(engine, gru, define):
    weights = [numpy_helper.to_array(tensor) for tensor in load(gru[1]).graph.initializer]
    assert any(np.any(weight.astype("float16") != weight) for weight in weights if weight.dtype == np.float32)
    x = draw_x(1, 3)
    assert engine.load(gru[1], define("openvino")).run({"x": x})["logits"] == pytest.approx(
        gru[0].expected(x), abs=1e-6
    )
