"""Verify passes what is right, and fails what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from rnnexport.bundle.bundle import load_bundle
from rnnexport.bundle.manifest import Tolerance
from rnnexport.bundle.store import seal
from rnnexport.errors import BundleError
from rnnexport.parity.compare import Reference, compare
from rnnexport.parity.grid import GRID, CaseShape, draw_feeds
from rnnexport.parity.verify import verify
from rnnexport.versions import machine
from tests.bundles import GRU, LSTM, altered, copy_of

TOLERANCE = Tolerance(atol=1e-5, rtol=1.3e-6)


def recurrent(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type in ("LSTM", "GRU"))


def flip_gru_form(model: onnx.ModelProto) -> None:
    (attribute,) = (a for a in recurrent(model).attribute if a.name == "linear_before_reset")
    attribute.i = 0


def swap_gates(model: onnx.ModelProto) -> None:
    name = recurrent(model).input[2]
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    array = numpy_helper.to_array(weights)
    hidden_size = array.shape[2]
    rolled = np.concatenate(
        [array[:, hidden_size : 2 * hidden_size], array[:, :hidden_size], array[:, 2 * hidden_size :]], 1
    )
    weights.CopyFrom(numpy_helper.from_array(rolled, name))


def store_weights_as_float16(model: onnx.ModelProto) -> None:
    for weights in model.graph.initializer:
        array = numpy_helper.to_array(weights)
        if array.dtype == np.float32:
            weights.CopyFrom(numpy_helper.from_array(array.astype(np.float16).astype(np.float32), weights.name))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (flip_gru_form, "other GRU form"),
        pytest.param(swap_gates, "gate order", marks=pytest.mark.slow),
        pytest.param(store_weights_as_float16, "weights stored in fp16", marks=pytest.mark.slow),
    ],
)
def test_fails_a_graph_that_is_not_the_source_model(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], cause: str
) -> None:
    report = verify(altered(GRU, tmp_path / "gru", change), ["ort-cpu"])
    assert report.exit_status == 1
    comparison = next(c for case in report.runtimes[0].cases for c in case.comparisons if not c.passed)
    assert comparison.reason is not None
    assert comparison.max_abs_diff > 1e-5
    diagnosis = report.runtimes[0].diagnosis
    assert diagnosis is not None
    assert diagnosis.fault_in == "file"
    assert [found.name for found in diagnosis.causes] == [cause]
    assert diagnosis.divergence is not None
    assert diagnosis.divergence.layer == 1


def test_fails_an_output_of_another_shape(tmp_path: Path) -> None:
    def transpose(model: onnx.ModelProto) -> None:
        last = model.graph.node[-1]
        last.output[0] = "before"
        model.graph.node.append(onnx.helper.make_node("Transpose", ["before"], ["logits"], perm=[1, 0]))
        model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("logits", 1, [9, "batch"]))

    report = verify(altered(GRU, tmp_path / "gru", transpose), ["ort-cpu"], grid="quick")
    reasons = [c.reason for case in report.runtimes[0].cases for c in case.comparisons]
    assert "is float32 [9, 3], not float32 [3, 9]" in reasons


def test_a_graph_that_no_runtime_loads_fails_in_its_own_words(tmp_path: Path) -> None:
    def break_graph(model: onnx.ModelProto) -> None:
        recurrent(model).attribute.append(onnx.helper.make_attribute("layout", 1))

    report = verify(altered(GRU, tmp_path / "gru", break_graph), ["ort-cpu", "torch-cpu"], grid="quick")
    by_name = {runtime.definition.name: runtime for runtime in report.runtimes}
    assert not by_name["ort-cpu"].passed
    assert "layout" in str(by_name["ort-cpu"].cases[0].failure)
    assert by_name["torch-cpu"].passed, "the others go on"


@pytest.mark.skipif("bf16" not in machine()["features"], reason="this CPU has no bfloat16 instructions")
def test_bfloat16_is_judged_by_its_own_tolerance() -> None:
    report = verify(LSTM, ["openvino-cpu-bf16"], grid="quick")
    assert report.passed
    assert report.runtimes[0].worst("logits")[1].max_abs_diff > 1e-3  # type: ignore[index]


def test_the_evidence_says_what_was_found(tmp_path: Path) -> None:
    bundle = altered(GRU, tmp_path / "gru", lambda model: None)
    report = verify(bundle, ["ort-cpu"], grid="quick", seed=3)
    assert report.seed == 3
    assert load_bundle(bundle).evidence("parity.json") == "current"


def test_a_bundle_without_a_tolerance_for_the_precision_is_refused(tmp_path: Path) -> None:
    copy_of(GRU, tmp_path / "gru")
    seal(tmp_path / "gru", load_bundle(GRU).manifest.model_copy(update={"tolerances": {}}))
    with pytest.raises(BundleError, match="has no tolerance for 'float32'"):
        verify(tmp_path / "gru", ["ort-cpu"])


@given(st.sampled_from(GRID), st.integers(0, 1000))
def test_drawn_calls_have_the_lengths_and_padding_that_they_claim(shape: CaseShape, seed: int) -> None:
    bundle = load_bundle(GRU)
    feeds = draw_feeds(bundle.manifest.inputs, bundle.series, shape, np.random.default_rng(seed))
    x, lengths = feeds["x"], feeds["lengths"]
    assert x.shape == (shape.batch_size, shape.time_steps, 12)
    assert lengths.max() == shape.time_steps
    assert lengths.min() == (1 if shape.batch_size > 2 else lengths.min())
    for row, length in zip(x, lengths, strict=True):
        assert np.isfinite(row[:length]).all()
        np.testing.assert_array_equal(row[length:], np.float32(shape.padding_value))


@given(error=st.floats(0, 1e-3), own=st.floats(0, 1e-4), value=st.floats(-100, 100))
def test_the_verdict_is_the_documented_one(error: float, own: float, value: float) -> None:
    expected = np.array([[0.0, value]])
    actual = expected + np.array([[0.0, error]])
    reference = Reference(expected, np.dtype("float64"), own)
    difference = abs(actual[0, 1] - value)
    passed = difference <= max(1e-5 + 1.3e-6 * abs(value), 4 * own)
    comparison = compare("y", actual, reference, TOLERANCE)
    assert comparison.passed == passed
    assert passed or comparison.worst_index == (0, 1)


def test_a_value_that_is_not_finite_fails_unless_it_is_expected() -> None:
    reference = Reference(np.array([1.0, np.nan]), np.dtype("float32"), 0.0)
    assert compare("y", np.array([1.0, np.nan], np.float32), reference, TOLERANCE).passed
    assert not compare("y", np.array([np.nan, np.nan], np.float32), reference, TOLERANCE).passed
    assert not compare("y", np.array([1.0, 0.0], np.float32), reference, TOLERANCE).passed
    assert not compare("y", np.array([np.inf, np.nan], np.float32), reference, TOLERANCE).passed
