import re
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, load, numpy_helper, save

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.errors import RuntimeUnavailableError
from rnnexport.versions import lacks_vnni
from tests.graphs import Graph

cuda = get_engine("onnxruntime").available(
    Definition(name="mine", engine="onnxruntime", device="cuda", precision="float32")
)
without_cuda = pytest.mark.skipif("has no CUDA" not in str(cuda.reason), reason="this onnxruntime has CUDA")
with_cuda = pytest.mark.skipif(not cuda.usable, reason=str(cuda.reason))


@pytest.fixture
def engine():
    return get_engine("onnxruntime")


def count_threads():
    return len(list(Path("/proc/self/task").iterdir()))


def draw_x():
    return np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")


@without_cuda
def test_without_cuda_provider_says_what_mends_it(engine, gru, define):
    message = (
        "runtime 'mine' is not usable: this onnxruntime has no CUDAExecutionProvider; "
        "run: pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
    )
    with pytest.raises(RuntimeUnavailableError, match=f"^{re.escape(message)}$"):
        engine.load(gru[1], define("onnxruntime", device="cuda", options={"use_tf32": 0}))


def test_both_packages_installed_is_not_usable(engine, gru, define, tmp_path, monkeypatch):
    for name in ("onnxruntime", "onnxruntime_gpu"):
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = "both installed and overwrite each other's files; run: pip uninstall -y onnxruntime onnxruntime-gpu && "
    with pytest.raises(RuntimeUnavailableError, match=re.escape(message)):
        engine.load(gru[1], define("onnxruntime"))


def test_threads_of_the_definition(engine, gru, define):
    before = count_threads()
    session = engine.load(gru[1], define("onnxruntime", threads=4))
    assert count_threads() == before + 3  # the caller's own is the fourth
    session.close()
    assert count_threads() == before


@pytest.mark.parametrize("options", [{"graph_optimization_level": "disabled"}, {"allow_spinning": False}])
def test_options_leave_the_answer_alone(engine, gru, define, options):
    x = draw_x()
    session = engine.load(gru[1], define("onnxruntime", options=options))
    assert session.run({"x": x})["logits"] == pytest.approx(gru[0].expected(x), abs=1e-6)


def test_float16_graph_is_computed_in_float32_on_the_cpu(engine, gru, define, tmp_path):
    model = load(gru[1])
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(value.astype("float16"), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = 10  # FLOAT16
    save(model, tmp_path / "half.onnx")
    session = engine.load(tmp_path / "half.onnx", define("onnxruntime"))
    assert session.inputs[0].dtype == np.float16
    x = draw_x().astype("float16")
    assert session.run({"x": x})["logits"] == pytest.approx(gru[0].expected(x.astype("float64")), abs=2e-3)


@pytest.mark.gpu
@with_cuda
def test_cuda_computes_without_tf32(engine, gru, define):
    x = draw_x()
    session = engine.load(gru[1], define("onnxruntime", device="cuda"))
    assert session.run({"x": x})["logits"] == pytest.approx(gru[0].expected(x), abs=1e-6)
    assert session.bind({"x": x})()["logits"] == pytest.approx(gru[0].expected(x), abs=1e-6)


@pytest.mark.gpu
@with_cuda
def test_gru_that_cuda_cannot_run_is_refused(engine, gru, define, tmp_path):
    model = load(gru[1])
    gru_node = next(node for node in model.graph.node if node.op_type == "GRU")
    del gru_node.attribute[:]
    gru_node.attribute.append(helper.make_attribute("hidden_size", 5))
    save(model, tmp_path / "reset_before.onnx")
    with pytest.raises(RuntimeUnavailableError, match="GRU would run on the CPU"):
        engine.load(tmp_path / "reset_before.onnx", define("onnxruntime", device="cuda"))


EXACT_PRODUCTS = "session.x64quantprecision"


@pytest.fixture
def products(tmp_path):
    """A model that multiplies x of u8 by one w of s8 in each of its nodes; and w."""
    w = np.full((64, 3), 127, np.int8)
    w[::4] = -128

    def products(nodes):
        g = Graph(opset=18)
        g.constant(w, np.int8, "w")
        outputs = [g.op("MatMulInteger", "x", "w", outputs=[f"y{i}"]) for i in range(nodes)]
        types = {"x": np.uint8} | dict.fromkeys(outputs, np.int32)
        save(
            g.model({"x": ["batch", 64]}, {name: ["batch", 3] for name in outputs}, types, ir_version=10),
            tmp_path / "m.onnx",
        )
        return tmp_path / "m.onnx", w

    return products


@pytest.mark.parametrize("lacks", [True, lacks_vnni()], ids=["without VNNI", "as this CPU"])
def test_products_of_8_bits_are_exact_on_every_cpu(lacks, engine, define, products, monkeypatch):
    """At the ends of the range, a pair of products exceeds the 16 bits that a CPU without VNNI adds it in."""
    monkeypatch.setattr("rnnexport.engines.onnxruntime.lacks_vnni", lambda: lacks)
    model, w = products(1)
    x = np.full((2, 64), 255, np.uint8)
    session = engine.load(model, define("onnxruntime"))
    np.testing.assert_array_equal(session.run({"x": x})["y0"], x.astype(np.int32) @ w.astype(np.int32))
    if lacks:  # where VNNI is, the product is exact with and without
        assert session._session.get_session_options().get_session_config_entry(EXACT_PRODUCTS) == "1"
    session.close()


def test_nodes_that_share_a_weight_load_without_vnni(engine, define, products, monkeypatch, capfd):
    """ONNX Runtime 1.32 cannot load them with exact products."""
    monkeypatch.setattr("rnnexport.engines.onnxruntime.lacks_vnni", lambda: True)
    session = engine.load(products(2)[0], define("onnxruntime"))
    assert set(session.run({"x": np.ones((1, 64), np.uint8)})) == {"y0", "y1"}
    session.close()
    assert capfd.readouterr().err == ""
