"""Ways in which runtimes and exporters are known to go wrong without a word: each is caught, and named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

import rnnexport
from rnnexport.bundle.bundle import reference_bundles
from rnnexport.bundle.store import seal
from rnnexport.parity.options import Limits
from rnnexport.parity.results import RuntimeParity
from rnnexport.parity.verify import verify
from rnnexport.versions import machine

LSTM, GRU = reference_bundles()
Careless = Callable[[str], Path]
Altered = Callable[[Path, Callable[[onnx.ModelProto], None]], Path]


def causes(runtime: RuntimeParity) -> list[str]:
    assert not runtime.passed
    assert runtime.diagnosis is not None
    return [cause.name for cause in runtime.diagnosis.causes]


@pytest.mark.skipif("bf16" not in machine()["features"], reason="this CPU has no bfloat16 instructions")
def test_a_runtime_that_chooses_bfloat16_by_itself(careless: Careless) -> None:
    (runtime,) = verify(LSTM, [careless("default-precision")], grid="quick").runtimes
    assert causes(runtime) == ["bf16 arithmetic"]
    assert runtime.diagnosis is not None
    assert runtime.diagnosis.fault_in == "runtime"


@pytest.mark.slow
@pytest.mark.skipif("bf16" not in machine()["features"], reason="this CPU has no bfloat16 instructions")
def test_bfloat16_in_a_layer_too_small_to_tell_it_from_one_shape(careless: Careless, tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = ["x:float32[batch,time,5]"]
    bundle = rnnexport.export(torch.nn.LSTM(5, 8, batch_first=True), tmp_path / "layer", inputs=inputs)
    (runtime,) = verify(bundle.path, [careless("default-precision")]).runtimes
    assert causes(runtime) == ["bf16 arithmetic"]


def test_weights_compressed_to_float16_by_saving(careless: Careless, tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = ["x:float32[batch,time,6]"]
    bundle = rnnexport.export(torch.nn.GRU(6, 12, batch_first=True), tmp_path / "layer", inputs=inputs)
    (runtime,) = verify(bundle.path, [careless("compressed")], grid="quick").runtimes
    assert causes(runtime) == ["weights stored in fp16"]


def test_openvino_ignores_sequence_lens_of_dynamic_shapes(tmp_path: Path) -> None:
    class Packed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = torch.nn.LSTM(5, 8, batch_first=True)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.rnn(packed)[1][0][0]

    torch.manual_seed(0)
    inputs = ["x:float32[batch,time,5]", "lengths:int64[batch]"]
    bundle = rnnexport.export(Packed(), tmp_path / "packed", inputs=inputs, lengths="sequence-lens")
    openvino, ort = verify(bundle.path, ["openvino-cpu", "ort-cpu"]).runtimes
    assert ort.passed
    assert causes(openvino) == ["lengths ignored"]
    static = [case for case in openvino.cases if "static shapes" in case.case]
    assert static
    assert all(case.passed for case in static), "with static shapes OpenVINO is right"


def test_an_output_that_an_earlier_call_left_behind(careless: Careless) -> None:
    (runtime,) = verify(GRU, [careless("stale")], grid="quick").runtimes
    assert causes(runtime) == ["stale or undefined output"]


def freeze_time(model: onnx.ModelProto) -> None:
    """As an exporter does that bakes the example's sizes into a Reshape."""
    (recurrent,) = (node for node in model.graph.node if node.op_type == "GRU")
    model.graph.initializer.append(numpy_helper.from_array(np.array([20, -1, 12]), "frozen"))
    before = recurrent.input[0]
    model.graph.node.insert(
        list(model.graph.node).index(recurrent), helper.make_node("Reshape", [before, "frozen"], ["reshaped"])
    )
    recurrent.input[0] = "reshaped"


@pytest.mark.slow
def test_a_session_whose_first_call_was_the_smallest(careless: Careless) -> None:
    """The calls before it hide the fault, so the smallest is also made first, on a session of its own."""
    (runtime,) = verify(GRU, [careless("spoilt")], grid="quick").runtimes
    wrong = [case.case for case in runtime.cases if not case.passed]
    assert len(wrong) == 1
    assert wrong[0].endswith(", smallest first")


def test_an_output_that_the_graph_does_not_have(careless: Careless) -> None:
    (runtime,) = verify(GRU, [careless("chatty")], grid="quick").runtimes
    assert {case.failure for case in runtime.cases} == {"gave an output 'more', which the graph does not have"}


@pytest.mark.slow
def test_a_time_axis_that_the_export_froze(altered: Altered) -> None:
    def identical_width(model: onnx.ModelProto) -> None:
        (recurrent,) = (node for node in model.graph.node if node.op_type == "GRU")
        (weights,) = (t for t in model.graph.initializer if t.name == recurrent.input[1])
        freeze_time(model)
        (shape,) = (t for t in model.graph.initializer if t.name == "frozen")
        shape.CopyFrom(numpy_helper.from_array(np.array([20, -1, weights.dims[2]]), "frozen"))

    (runtime,) = verify(altered(GRU, identical_width), ["ort-cpu"]).runtimes
    assert causes(runtime) == ["time axis frozen"]
    assert runtime.diagnosis is not None
    assert "time=20" in runtime.diagnosis.causes[0].says


def test_gates_that_are_wrong_from_the_second_step_on_are_no_frozen_axis(tmp_path: Path) -> None:
    """One step alone is right, as it is where time is frozen; but the other calls have the right shape."""
    torch.manual_seed(0)
    gru = torch.nn.GRU(5, 8, batch_first=True)
    bundle = rnnexport.export(gru, tmp_path / "gru", inputs=["x:float32[batch,time,5]"])
    model = onnx.load(bundle.model_path)
    (recurrent,) = (node for node in model.graph.node if node.op_type == "GRU")
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == recurrent.input[2])
    reset_first = numpy_helper.to_array(weights).reshape(1, 3, 8, 8)[:, [1, 0, 2]].reshape(1, 24, 8)
    weights.CopyFrom(numpy_helper.from_array(reset_first, weights.name))
    onnx.save(model, bundle.model_path)
    seal(bundle.path, bundle.manifest)
    (runtime,) = verify(bundle.path, ["ort-cpu"]).runtimes
    assert causes(runtime) == ["gate order"]


@pytest.mark.slow
@pytest.mark.parametrize(("axis", "size"), [("batch", 3), ("time", 7)])
def test_a_frozen_axis_is_told_from_one_that_has_one_size_wherever_the_other_fits(
    tmp_path: Path, axis: str, size: int
) -> None:
    """The grid has batch 3 with 12 steps only, and 7 steps with batch 17 only."""

    class Split(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.frozen = torch.nn.LSTM(5, 8, batch_first=True), {}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.rnn(x)[0]
            return y.reshape(self.frozen.get("batch", y.shape[0]), self.frozen.get("time", y.shape[1]), 4, 2)

    module = Split()
    bundle = rnnexport.export(module, tmp_path / "split", inputs=["x:float32[batch,time,5]"], output_names=["y"])
    module.frozen = {axis: size}
    axes = {name: {0: "batch", 1: "time"} for name in ("x", "y")}
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(3, 7, 5),), str(bundle.model_path), dynamo=False, **names)
    seal(bundle.path, bundle.manifest)
    (runtime,) = verify(bundle.path, ["ort-cpu"]).runtimes
    assert causes(runtime) == [f"{axis} axis frozen"]
    assert runtime.diagnosis is not None
    assert runtime.diagnosis.causes[0].says == f"it works at {axis}={size} only"


def test_onnx_runtime_swallows_nan_and_that_is_no_failure() -> None:
    by_name = {r.definition.name: r for r in verify(GRU, ["ort-cpu", "torch-cpu"], grid="quick").runtimes}
    assert all(runtime.passed for runtime in by_name.values())
    assert by_name["ort-cpu"].non_finite["NaN"] == "swallowed"
    assert by_name["torch-cpu"].non_finite["NaN"] == "kept"


@pytest.mark.slow
def test_a_runtime_that_dies_is_judged_and_the_others_go_on(careless: Careless) -> None:
    ends = {
        "dying": ("crash", "SIGSEGV"),
        "hanging": ("timeout", "passed the time limit of 15 s"),
        "hungry": ("memory", "over the memory limit of 900 MiB"),
    }
    limits = Limits(time_limit_seconds=15, memory_limit_bytes=900 << 20)
    report = verify(GRU, [*map(careless, ends), "ort-cpu"], grid="quick", limits=limits)
    *dying, ort = report.runtimes
    assert ort.passed
    for runtime, (kind, words) in zip(dying, ends.values(), strict=True):
        (failed,) = (case for case in runtime.cases if not case.passed)
        assert (failed.number, failed.failure_kind) == (2, kind)
        assert words in str(failed.failure)
