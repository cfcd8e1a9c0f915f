"""Files of other exporters: what is right passes, what is wrong fails, and one runtime's refusal is its own."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import rnnexport
from rnnexport.bundle.store import seal
from rnnexport.errors import NoReferenceError
from rnnexport.parity.verdicts import ParityReport
from rnnexport.parity.verify import verify
from tests.parity.drawn_graphs import CHANNELS, Drawn, graph

BOTH = ["ort-cpu", "openvino-cpu"]


def judged(model: onnx.ModelProto, folder: Path) -> ParityReport:
    onnx.save(model, folder / "model.onnx")
    bundle = rnnexport.export(folder / "model.onnx", folder / "bundle")
    return verify(bundle.path, BOTH, grid="quick")


@pytest.mark.parametrize("opset", [13, pytest.param(15, marks=pytest.mark.slow)])
def test_batch_normalization_of_any_operator_set_hides_no_fault(opset: int, tmp_path: Path) -> None:
    """OpenVINO ignores peepholes; onnx's reference computes BatchNormalization before operator set 14 wrongly."""
    ort, openvino = judged(graph("norm-peepholes", opset=opset), tmp_path).runtimes
    assert ort.passed
    assert not openvino.passed
    assert max(c.float32_error for case in ort.cases for c in case.comparisons) < 1e-4


def test_peepholes_behind_an_axis_without_a_name(tmp_path: Path) -> None:
    """OpenVINO ignores peepholes; what explains that is looked for, and does not end in a crash."""
    ort, openvino = judged(graph("lengths-peepholes"), tmp_path).runtimes
    assert ort.passed
    assert not openvino.passed
    assert openvino.diagnosis is not None


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
