"""Files of other exporters: what is right passes, what is wrong fails, and one runtime's refusal is its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import rnnexport
from rnnexport.bundle.store import seal
from rnnexport.errors import InputError, NoReferenceError
from rnnexport.exporting import onnx_source
from rnnexport.parity.float64.cost import cost_of_calls
from rnnexport.parity.results import ParityReport
from rnnexport.parity.verify import verify
from tests.parity.drawn_graphs import CHANNELS, HIDDEN, Drawn, graph

BOTH = ["ort-cpu", "openvino-cpu"]


def judged(model: onnx.ModelProto, folder: Path) -> ParityReport:
    onnx.save(model, folder / "model.onnx")
    bundle = rnnexport.export(folder / "model.onnx", folder / "bundle")
    return verify(bundle.path, BOTH, grid="quick")


@pytest.mark.slow
@pytest.mark.parametrize("opset", [13, pytest.param(15, marks=pytest.mark.slow)])
def test_batch_normalization_of_any_operator_set_hides_no_fault(opset: int, tmp_path: Path) -> None:
    """OpenVINO ignores peepholes; onnx's reference computes BatchNormalization before operator set 14 wrongly."""
    ort, openvino = judged(graph("norm-peepholes", opset=opset), tmp_path).runtimes
    assert ort.passed
    assert not openvino.passed
    assert openvino.diagnosis is not None
    assert [cause.name for cause in openvino.diagnosis.causes] == ["layer options ignored"]
    assert max(c.float32_error for case in ort.cases for c in case.comparisons) < 1e-4


@pytest.mark.slow
def test_peepholes_behind_an_axis_without_a_name(tmp_path: Path) -> None:
    """OpenVINO ignores peepholes; what explains that is looked for, and does not end in a crash."""
    ort, openvino = judged(graph("lengths-peepholes"), tmp_path).runtimes
    assert ort.passed
    assert not openvino.passed
    assert openvino.diagnosis is not None


@pytest.mark.slow
def test_coupled_gates_that_are_ignored_are_named(tmp_path: Path) -> None:
    ort, openvino = judged(lstm(["time", "batch", CHANNELS], input_forget=1), tmp_path).runtimes
    assert ort.passed
    assert openvino.diagnosis is not None
    (cause,) = openvino.diagnosis.causes
    assert cause.says == "input_forget of the LSTM is ignored"


def lstm(dimensions: list[int | str], **attributes: int) -> onnx.ModelProto:
    drawn = Drawn(0)
    return file(drawn, drawn.lstm("x", CHANNELS, **attributes), dimensions)


def file(drawn: Drawn, y: str, dimensions: list[int | str]) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, dimensions)
    output = helper.make_tensor_value_info(y, TensorProto.FLOAT, None)
    made = helper.make_graph(drawn.nodes, "lstm", [x], [output], drawn.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def test_a_random_file_is_refused_by_name(tmp_path: Path) -> None:
    drawn = Drawn(0)
    y = drawn.lstm(drawn.node("Add", "x", drawn.node("RandomNormalLike", "x")), CHANNELS)
    onnx.save(file(drawn, y, ["time", "batch", CHANNELS]), tmp_path / "model.onnx")
    with pytest.raises(
        NoReferenceError, match=r"model\.onnx has no reference: none is proven for RandomNormalLike"
    ) as no:
        rnnexport.export(tmp_path / "model.onnx", tmp_path / "bundle")
    assert no.value.exit_status == 2
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_whose_reference_was_not_held_has_no_verdict(tmp_path: Path) -> None:
    onnx.save(lstm(["time", "batch", CHANNELS]), tmp_path / "model.onnx")
    bundle = rnnexport.export(tmp_path / "model.onnx", tmp_path / "bundle")
    seal(bundle.path, bundle.manifest.model_copy(update={"reference": None}))
    with pytest.raises(NoReferenceError, match="no proven reference, so there is no verdict"):
        verify(bundle.path, ["ort-cpu"])


@pytest.mark.slow
def test_dimensions_of_minus_one_are_free(tmp_path: Path) -> None:
    report = judged(lstm([-1, -1, CHANNELS]), tmp_path)
    assert report.passed
    assert len({case.case for case in report.runtimes[0].cases}) > 2


def test_what_onnx_runtime_refuses_is_judged_in_openvino_all_the_same(tmp_path: Path) -> None:
    report = judged(lstm(["batch", "time", CHANNELS], layout=1), tmp_path)
    ort, openvino = report.runtimes
    assert "layout" in (ort.cases[0].failure or "")
    assert openvino.cases[0].comparisons
    assert report.reference is not None
    assert "not held, but right in onnx's own cases: LSTM" in report.reference


@pytest.mark.slow
def test_constants_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    """Files of old versions name them there."""
    model = lstm(["time", "batch", CHANNELS])
    model.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in model.graph.initializer
    )
    assert judged(model, tmp_path).passed


@pytest.mark.slow
def test_a_false_rank_of_an_output_is_the_files_own_affair(tmp_path: Path) -> None:
    model = lstm(["time", "batch", CHANNELS])
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(model.graph.output[0].name, TensorProto.FLOAT, ["time", "batch", HIDDEN])
    )
    assert judged(model, tmp_path).passed


@pytest.mark.slow
def test_names_like_those_of_kept_answers(tmp_path: Path) -> None:
    drawn = Drawn(0)
    y = drawn.node("Identity", drawn.lstm("float64/x 0:α", CHANNELS))
    drawn.nodes[-1].output[0] = y = "float32/y"
    model = file(drawn, y, ["time/2", "a batch", CHANNELS])
    model.graph.input[0].name = "float64/x 0:α"
    assert judged(model, tmp_path).passed


@pytest.mark.slow
def test_a_file_without_inputs(tmp_path: Path) -> None:
    drawn = Drawn(0)
    model = file(drawn, drawn.lstm(drawn.weight(5, 2, CHANNELS), CHANNELS), [])
    del model.graph.input[:]
    assert judged(model, tmp_path).passed


@pytest.mark.slow
@pytest.mark.parametrize("element", [TensorProto.FLOAT16, TensorProto.FLOAT])
def test_float16_rounds_as_float16(element: int, tmp_path: Path) -> None:
    """All in float16, and float32 between casts from and to float16."""
    drawn = Drawn(0)
    for shape in ((1, 4 * HIDDEN, CHANNELS), (1, 4 * HIDDEN, HIDDEN), (1, 8 * HIDDEN)):
        drawn.constant((drawn.generator.standard_normal(shape) / 3).astype(np.float16))
    weights = [tensor.name for tensor in drawn.constants]
    if element == TensorProto.FLOAT:
        weights = [drawn.node("Cast", weight, to=element) for weight in weights]
    y = drawn.node("LSTM", drawn.node("Cast", "x", to=element), *weights, hidden_size=HIDDEN)
    y = drawn.node("Cast", y, to=TensorProto.FLOAT16)
    model = file(drawn, y, ["time", "batch", CHANNELS])
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    report = judged(model, tmp_path)
    assert report.passed
    assert {comparison.dtype for case in report.runtimes[0].cases for comparison in case.comparisons} == {"float16"}


def test_products_of_8_bits_are_exact_in_the_reference_on_every_cpu(tmp_path: Path) -> None:
    drawn = Drawn(0)
    drawn.node("DynamicQuantizeLinear", "x")
    quantized = ["quantized", "scale", "zero point"]
    drawn.nodes[-1].output[:] = quantized
    weight = drawn.constant(drawn.generator.integers(-127, 128, (CHANNELS, CHANNELS)).astype(np.int8))
    product = drawn.node("MatMulInteger", quantized[0], weight, quantized[2])
    scaled = drawn.node("Mul", drawn.node("Cast", product, to=TensorProto.FLOAT), drawn.constant(np.float32(1e-4)))
    assert judged(file(drawn, drawn.lstm(scaled, CHANNELS), ["time", "batch", CHANNELS]), tmp_path).passed


@pytest.mark.slow
def test_an_rnn_with_relu_has_a_reference(tmp_path: Path) -> None:
    """As PyTorch's exporters write nn.RNN(nonlinearity="relu")."""
    drawn = Drawn(0)
    w, r = drawn.weight(1, HIDDEN, CHANNELS), drawn.weight(1, HIDDEN, HIDDEN)
    y = drawn.node("RNN", "x", w, r, hidden_size=HIDDEN, activations=["Relu"])
    assert judged(file(drawn, y, ["time", "batch", CHANNELS]), tmp_path).passed


@pytest.mark.slow
def test_a_loop_that_starts_from_nothing_has_a_reference(tmp_path: Path) -> None:
    """ConstantOfShape makes float32 by default, also where all else is float64."""
    drawn = Drawn(0)
    size = drawn.node("Gather", drawn.node("Shape", "x"), drawn.constant(np.array([1])))
    start = drawn.node("ConstantOfShape", drawn.node("Concat", size, drawn.constant(np.array([CHANNELS])), axis=0))
    y = drawn.node("MatMul", drawn.node("Add", "x", start), drawn.weight(CHANNELS, HIDDEN))
    assert judged(file(drawn, y, ["time", "batch", CHANNELS]), tmp_path).passed


def test_a_call_that_cannot_be_evaluated_is_left_out_by_name(tmp_path: Path) -> None:
    """The second convolution takes no fewer than five steps, and the batch has no usual name."""
    drawn = Drawn(0)
    x = drawn.node("Conv", drawn.node("Transpose", "x", perm=[0, 2, 1]), drawn.weight(CHANNELS, CHANNELS, 5))
    y = drawn.lstm(drawn.time_major(x), CHANNELS)
    report = judged(file(drawn, y, ["s77", "s27", CHANNELS]), tmp_path)
    assert report.passed
    assert {case.case for case in report.runtimes[0].cases} >= {"batch=1 time=29", "batch=3 time=12, padding 1000"}
    assert "2 calls left out, which cannot be evaluated: batch=1 time=1" in str(report.reference)
    assert "Conv 'the conv1' fails" in str(report.reference)


@pytest.mark.slow
def test_a_file_for_long_series_only_is_judged_at_long_ones(tmp_path: Path) -> None:
    drawn = Drawn(0)
    x = drawn.node("Conv", drawn.node("Transpose", "x", perm=[0, 2, 1]), drawn.weight(1, CHANNELS, 150), strides=[50])
    y = drawn.lstm(drawn.time_major(x), 1)
    report = judged(file(drawn, y, ["batch", "samples", CHANNELS]), tmp_path)
    assert report.passed
    assert "batch=1 time=1160" in {case.case for case in report.runtimes[0].cases}, "not only the grid's longest call"


def test_what_a_large_reference_takes_is_told_before_it_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    onnx.save(lstm(["time", "batch", CHANNELS]), tmp_path / "model.onnx")
    notes: list[str] = []
    rnnexport.export(tmp_path / "model.onnx", tmp_path / "bundle", on_note=notes.append)
    assert notes == []
    monkeypatch.setattr(onnx_source, "_MUCH_TIME", 1e-6)
    rnnexport.export(tmp_path / "model.onnx", tmp_path / "again", on_note=notes.append)
    (note,) = notes
    assert re.fullmatch(
        r"the reference of model.onnx takes about 0.0 GB and \d+ s, estimated; with `sample=sample.npz` that holds "
        r"x \[1, 1, 4\] it takes about 0.0 GB and 0 s",
        note,
    )


def test_the_cost_of_a_reference_is_that_of_its_products_and_values(tmp_path: Path) -> None:
    drawn = Drawn(0)
    y = drawn.node("Relu", drawn.node("MatMul", "x", drawn.weight(1000, 3000)))
    onnx.save(file(drawn, y, ["batch", 1000]), tmp_path / "model.onnx")
    cost = cost_of_calls(tmp_path / "model.onnx", [{"x": (2000, 1000)}, {"x": (1, 1000)}])
    assert cost.memory_bytes == 8 * (1000 * 3000 + 2 * 2000 * 3000)
    assert cost.seconds == pytest.approx(4 * (2001 * (1000 * 3000 / 2e9 + 2 * 3000 / 1e8) + 4 / 5e4))


def looped(condition: str = "") -> onnx.ModelProto:
    """H ← tanh(x W + h R) for each step of x [time, batch, 4], the steps counted in the graph; then a product."""
    loop = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 11]>
        cell (float[time, batch, {CHANNELS}] x) => (y)
        <int64 zero = {{0}}, int64[1] first = {{0}}, int64[1] second = {{1}}, int64[1] third = {{2}},
         int64[1] hidden = {{{HIDDEN}}}, bool yes = {{1}}> {{
            sizes = Shape (x)
            count = Gather (sizes, zero)
            batch = Slice (sizes, second, third, first)
            start = Concat <axis = 0> (batch, hidden)
            h_0 = ConstantOfShape (start)
            h_n, rows = Loop ({condition or "count"}, yes, h_0) <body = step (int64 t, bool on, float[n, m] h)
                => (bool on_on, float[n, m] h_t, float[n, m] row) {{
                x_t = Gather (x, t)
                from_x = MatMul (x_t, w)
                from_h = MatMul (h, r)
                total = Add (from_x, from_h)
                h_t = Tanh (total)
                row = Identity (h_t)
                on_on = Identity (on)
            }}>
            y = MatMul (rows, r)
        }}""")
    drawn = Drawn(0)
    for name, size in (("w", CHANNELS), ("r", HIDDEN)):
        drawn.weight(size, HIDDEN)
        drawn.constants[-1].name = name
    loop.graph.initializer.extend(drawn.constants)
    return loop


def test_the_cost_of_a_reference_counts_a_body_as_often_as_it_runs(tmp_path: Path) -> None:
    onnx.save(looped(), tmp_path / "model.onnx")
    short, long = (cost_of_calls(tmp_path / "model.onnx", [{"x": (n, 3, CHANNELS)}]) for n in (100, 10000))
    assert short.complete
    assert long.seconds == pytest.approx(100 * short.seconds, rel=0.02)
    assert long.memory_bytes > 8 * 2 * 10000 * 3 * HIDDEN, "the rows, and what is made of them"


def test_the_cost_of_a_body_that_runs_until_a_condition_is_a_lower_bound(tmp_path: Path) -> None:
    onnx.save(looped('""'), tmp_path / "model.onnx")
    cost = cost_of_calls(tmp_path / "model.onnx", [{"x": (100, 3, CHANNELS)}])
    assert not cost.complete
    assert str(cost) == "at least 0.0 GB and 0 s"


def test_what_is_no_tensor_of_numbers_is_refused_by_name(tmp_path: Path) -> None:
    model = lstm(["time", "batch", CHANNELS])
    answer = model.graph.output[0].name
    split = helper.make_node("SplitToSequence", [answer], ["steps"], axis=0)
    said: Any = ["yes", "no"]
    words = helper.make_tensor("words", TensorProto.STRING, [2], said)
    model.graph.node.append(split)
    model.graph.initializer.append(words)
    for output, problem in (
        (helper.make_tensor_sequence_value_info("steps", TensorProto.FLOAT, None), "'steps' is no tensor"),
        (helper.make_tensor_value_info("words", TensorProto.STRING, [2]), "'words' is text"),
    ):
        model.graph.output[0].CopyFrom(output)
        onnx.save(model, tmp_path / "model.onnx")
        with pytest.raises(InputError, match=f"model.onnx: output {problem}; only tensors of numbers are judged"):
            rnnexport.export(tmp_path / "model.onnx", tmp_path / "bundle")


def test_what_becomes_of_nan_on_padding_is_up_to_the_runtime(tmp_path: Path) -> None:
    """The lengths only turn the series, so the layer reads the padding; ONNX Runtime's GRU swallows NaN."""
    drawn = Drawn(0)
    lengths = drawn.node("Cast", "lengths", to=TensorProto.INT64)
    y = drawn.gru(drawn.node("ReverseSequence", "x", lengths, time_axis=0, batch_axis=1), CHANNELS)
    model = file(drawn, y, ["time", "batch", CHANNELS])
    model.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    onnx.save(model, tmp_path / "model.onnx")
    bundle = rnnexport.export(tmp_path / "model.onnx", tmp_path / "bundle")
    (ort,) = verify(bundle.path, ["ort-cpu"]).runtimes
    assert "padding nan" in {case.case.partition(", ")[2] for case in ort.cases}
    assert ort.passed


@pytest.mark.slow
def test_a_layout_that_openvino_misreads_is_not_the_files_fault(tmp_path: Path) -> None:
    """It answers in another shape; the file is its own reference, so no axis of it is frozen."""
    openvino = judged(lstm(["batch", "time", CHANNELS], layout=1), tmp_path).runtimes[1]
    assert not openvino.passed
    assert openvino.diagnosis is None
