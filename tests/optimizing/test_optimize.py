"""The command as a function: what it writes, what it says of it, what it refuses."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from rnnexport.bundle.bundle import load_bundle, reference_bundles
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.errors import RnnexportError
from rnnexport.onnx_files.reading import read_model
from rnnexport.optimizing.optimize import optimize
from rnnexport.optimizing.options import Rewrite
from rnnexport.optimizing.rewrite import apply
from rnnexport.versions import lacks_vnni
from tests.graphs import Graph
from tests.parity.drawn_graphs import CHANNELS, Drawn

LSTM, GRU = (path / "model.onnx" for path in reference_bundles())
RUNTIME = Definition(name="ort", engine="onnxruntime", precision="float32", threads=1)
FORMS = {
    "scan float32": Rewrite(),
    "scan int8": Rewrite(weights="int8"),
    "scan int8 dynamic": Rewrite(weights="int8", matmul_kernel="dynamic"),
    "scan int8 dequantize": Rewrite(weights="int8", matmul_kernel="dequantize", input_projection="same"),
    "scan int4": Rewrite(weights="int4"),
    "scan int4, int8 W": Rewrite(weights="int4", input_projection="dynamic"),
    "fused int8": Rewrite("fused", "int8"),
    "fused weight_only_int8": Rewrite("fused", weight_only_int8=True),
}
LARGEST_LOSS = {"float32": 0.0, "int8": 0.3, "int4": 1.0}
"""In points of accuracy."""


def run(path, feeds):
    session = get_engine("onnxruntime").load(path, RUNTIME)
    try:
        return session.run(feeds)
    finally:
        session.close()


def padded(bundle):
    """All series of a bundle in one batch, padded with zeros, and their labels."""
    evaluation = load_bundle(bundle).evaluation
    lengths = np.array([len(series) for series in evaluation.series])
    x = np.zeros((len(lengths), lengths.max(), 12), np.float32)
    for row, series in enumerate(evaluation.series):
        x[row, : len(series)] = series
    return {"x": x, "lengths": lengths}, evaluation.labels


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.npz"
    np.savez(path, **padded(GRU.parent)[0])
    return path


@pytest.mark.parametrize("model", [LSTM, GRU], ids=lambda path: path.parent.name)
@pytest.mark.parametrize("form", FORMS)
def test_the_task_is_done_as_well_as_before(model, form, tmp_path):
    if form == "fused int8" and model == GRU:
        pytest.skip("there is no such operator")
    if form == "fused int8" and lacks_vnni():
        pytest.skip("without VNNI DynamicQuantizeLSTM saturates")
    out = tmp_path / "out.onnx"
    rewritten = read_model(model)
    apply(FORMS[form], rewritten, lambda _: {})
    ir.save(rewritten, out)
    onnx.checker.check_model(onnx.load(out), full_check=True)
    feeds, labels = padded(model.parent)
    before, after = (100 * np.mean(run(path, feeds)["logits"].argmax(axis=1) == labels) for path in (model, out))
    assert before - after <= LARGEST_LOSS[FORMS[form].weights]


@pytest.mark.parametrize("form", ["scan float32", "scan int8"])
def test_the_report_tells_size_and_error(form, tmp_path):
    report = optimize(GRU, tmp_path / "out.onnx", FORMS[form])
    assert report.bytes_before == GRU.stat().st_size
    assert report.bytes_after == (tmp_path / "out.onnx").stat().st_size
    assert [row.runtime for row in report.differences] == ["ONNX Runtime", "OpenVINO"]
    for row in report.differences:
        assert row.failure is None
        assert row.largest < 1e-5 if form == "scan float32" else 1e-4 < row.largest < 0.1


def test_calibration_makes_the_error_less(sample, tmp_path):
    feeds, _ = padded(GRU.parent)
    expected = run(GRU, feeds)["logits"]
    errors = []
    for calibration in (None, sample):
        report = optimize(GRU, tmp_path / "out.onnx", Rewrite(weights="int4"), calibration=calibration)
        errors.append(np.square(run(tmp_path / "out.onnx", feeds)["logits"] - expected).mean())
    assert errors[1] < errors[0]
    assert report.inputs == str(sample)
    assert report.differences[0].calls == 1


@pytest.mark.parametrize(
    ("model", "gate"),
    [pytest.param(LSTM, "cell", marks=pytest.mark.slow), (GRU, "new")],
    ids=["lstm", "gru"],
)
def test_the_gate_that_errs_most_may_stay_float32(model, gate, tmp_path):
    errors = []
    (layer,) = (layer.name for layer in optimize(model, tmp_path / "out.onnx", Rewrite(weights="int4")).layers)
    for kept in ([], [f"{layer}:{gate}"], [layer]):
        report = optimize(model, tmp_path / "out.onnx", Rewrite(weights="int4", keep_float32=kept))
        errors.append(report.differences[0].largest)
        assert (f"gate {gate} float32" in report.layers[0].form) == (kept == [f"{layer}:{gate}"])
    assert errors[0] > errors[1] > errors[2]


@pytest.fixture
def mixed(tmp_path):
    """X [time, batch, 4] → a GRU → an LSTM with peepholes → y; 9 steps."""
    g = Graph()
    y = g.op("GRU", "x", *g.weights("GRU", 4, 8), outputs=["Y1"], name="plain", hidden_size=8)
    weights = g.weights("LSTM", 8, 8, ["W2", "R2"], seed=1)
    peepholes = g.constant(np.random.default_rng(2).normal(scale=0.3, size=(1, 24)))
    inputs = [g.with_axes("Squeeze", y, 1), *weights, "", "", "", "", peepholes]
    g.op("LSTM", *inputs, outputs=["y"], name="peepholes", hidden_size=8)
    path = tmp_path / "mixed.onnx"
    onnx.save(g.model({"x": ["time", "batch", 4]}, {"y": ["time", 1, "batch", 8]}), path)
    return path


def test_what_cannot_be_rewritten_is_left_and_named(mixed, tmp_path):
    report = optimize(mixed, tmp_path / "out.onnx", Rewrite(weights="int8"))
    assert [(layer.name, layer.reason) for layer in report.layers] == [
        ("plain", None),
        ("peepholes", "it has peepholes"),
    ]
    assert "LSTM" in [node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node]


def test_a_second_time_there_is_nothing_left_to_do(tmp_path):
    for rewrite in (Rewrite(weights="int8"), Rewrite("fused", weight_only_int8=True), Rewrite("fused", "int8")):
        model = read_model(LSTM)
        apply(rewrite, model, lambda _: {})
        with pytest.raises(RnnexportError, match=r"nothing to rewrite|no layer can be rewritten"):
            apply(rewrite, model, lambda _: {})


def test_a_step_graph_becomes_straight_line_nodes(mixed, tmp_path):
    report = optimize(mixed, tmp_path / "step.onnx", Rewrite("unrolled", "int8", time_steps=1, keep_float32=["plain"]))
    assert report.layers[0].form == "unrolled, float32"
    assert report.differences[0].largest < 1e-5
    assert "Scan" not in [node.op_type for node in onnx.load(tmp_path / "step.onnx").graph.node]


@pytest.mark.parametrize(
    ("rewrite", "message"),
    [
        (
            Rewrite("fused", "int4"),
            "no runtime has a fused operator with int4 weights; use `lowering=scan` or unrolled",
        ),
        (
            Rewrite("fused"),
            "`lowering=fused` `weights=float32` changes nothing; add `weight_only_int8` or `time_steps=1`, or",
        ),
        (Rewrite(weight_only_int8=True), "`weight_only_int8` only stores weights in 8 bits"),
        (Rewrite(weights="int8", activation_bits=8), "`activation_bits` is for `lowering=stack`"),
        (Rewrite("stack", "int16", activation_bits=8), "`activation_bits` is for `weights=int8` or int4"),
        (Rewrite(weights="int8", block_size=48), "`block_size=48`: choose a power of two, 16 or more"),
        (
            Rewrite(weights="int4", matmul_kernel="dynamic"),
            "`matmul_kernel=dynamic` takes int8 weights; for int4 choose matmulnbits",
        ),
        (
            Rewrite(matmul_kernel="dynamic"),
            "`matmul_kernel`, `input_projection` and `block_size` are for int8 or int4 weights",
        ),
        (Rewrite("fused", "int8"), "no layer can be rewritten; .* there is no fused GRU with int8 weights"),
        (Rewrite("unrolled"), "no layer can be rewritten; .* its number of time steps is not fixed: fix it"),
        (Rewrite("unrolled", time_steps=65), "no layer can be rewritten; .* its 65 time steps are more than 64"),
        (Rewrite("unrolled", time_steps=0), "`time_steps=0`: choose 1 or more"),
        (Rewrite(keep_float32=["gru"]), "layer 'gru' is unknown; choose one of: rnn.layer0.padded_Y"),
        (
            Rewrite(weights="int8", keep_float32=["rnn.layer0.padded_Y:reset"]),
            "of 'rnn.layer0.padded_Y' only gate 'new' can stay float32 alone",
        ),
        (
            Rewrite("fused", weight_only_int8=True, keep_float32=["rnn.layer0.padded_Y:new"]),
            "a gate can stay float32 with `lowering=scan` or unrolled only",
        ),
    ],
    ids=str,
)
def test_refusals_say_what_to_do_and_write_nothing(rewrite, message, tmp_path):
    with pytest.raises(RnnexportError, match=message) as caught:
        optimize(GRU, tmp_path / "out.onnx", rewrite)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda feeds: feeds | {"x": np.full_like(feeds["x"], np.nan)}, "'x' holds values that are not finite"),
        (lambda feeds: feeds | {"x": feeds["x"][:, :, :5]}, r"'x' is float32 \[128, \d+, 5\], the model takes float32"),
        (lambda feeds: {"x": feeds["x"]}, r"holds \['x'\], the model takes \['lengths', 'x'\]"),
    ],
    ids=["nan", "shape", "missing"],
)
def test_a_bad_sample_is_one_clear_line(change, message, tmp_path):
    np.savez(tmp_path / "sample.npz", **change(padded(GRU.parent)[0]))
    with pytest.raises(RnnexportError, match=message) as caught:
        optimize(GRU, tmp_path / "out.onnx", Rewrite(weights="int8"), calibration=tmp_path / "sample.npz")
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.onnx").exists()


def test_a_graph_without_recurrent_nodes_is_refused(tmp_path):
    g = Graph()
    g.op("Relu", "x", outputs=["y"])
    onnx.save(g.model({"x": ["batch"]}, {"y": ["batch"]}), tmp_path / "relu.onnx")
    with pytest.raises(RnnexportError, match=r"relu.onnx: there is no LSTM or GRU node, so there is nothing"):
        optimize(tmp_path / "relu.onnx", tmp_path / "out.onnx", Rewrite())


def test_the_original_is_never_overwritten(tmp_path):
    with pytest.raises(RnnexportError, match="is never changed"):
        optimize(GRU, GRU.parent / ".." / GRU.parent.name / "model.onnx", Rewrite())


def test_weights_beside_the_file_stay_beside_it(mixed, tmp_path):
    folder = tmp_path / "external"
    folder.mkdir()
    onnx.save(onnx.load(mixed), folder / "in.onnx", save_as_external_data=True, location="in.data", size_threshold=0)
    (tmp_path / "written").mkdir()
    report = optimize(folder / "in.onnx", tmp_path / "written" / "out.onnx", Rewrite())
    written = sorted(path.name for path in (tmp_path / "written").iterdir())
    assert written == ["out.onnx", "out.onnx.data"]
    assert report.bytes_after == sum(path.stat().st_size for path in (tmp_path / "written").iterdir())
    feeds = {"x": np.ones((3, 2, 4), np.float32)}
    np.testing.assert_allclose(run(tmp_path / "written" / "out.onnx", feeds)["y"], run(mixed, feeds)["y"], atol=1e-5)


def test_an_original_that_a_runtime_gets_wrong_says_nothing_against_the_copy(tmp_path):
    """OpenVINO ignores the original's lengths."""
    drawn = Drawn(0)
    y = drawn.lstm(drawn.time_major("x"), CHANNELS, "lengths")
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", CHANNELS, "time"])
    lengths = onnx.helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, ["batch"])
    output = onnx.helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(drawn.nodes, "lengths", [x, lengths], [output], drawn.constants)
    opsets = [onnx.helper.make_opsetid("", 15)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "model.onnx")
    ort, openvino = optimize(tmp_path / "model.onnx", tmp_path / "out.onnx", Rewrite()).differences
    assert (ort.original, openvino.failure) == (0, None)
    assert (openvino.original or 0) > 0.1
    assert all(row.relative is not None and row.relative < 1e-5 for row in (ort, openvino))


def test_a_file_that_gives_nothing_is_said_to(tmp_path):
    g = Graph()
    y = g.op("GRU", "x", *g.weights("GRU", 4, 6, ["W", "R"]), hidden_size=6, linear_before_reset=1)
    start, end = g.constant([0], np.int64), g.constant([0], np.int64)
    g.op("Slice", y, start, end, outputs=["y"])
    onnx.save(g.model({"x": ["time", "batch", 4]}, {"y": [0, 1, "batch", 6]}), tmp_path / "model.onnx")
    report = optimize(tmp_path / "model.onnx", tmp_path / "out.onnx", Rewrite())
    assert {row.failure for row in report.differences} == {"the original gives empty outputs"}
