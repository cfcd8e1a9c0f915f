"""The error along a long series: followed step by step, with its horizon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnnexport.bundle.bundle import load_bundle
from rnnexport.bundle.store import seal
from rnnexport.parity.drift import drift
from rnnexport.report.drift import drift_tables, plot_drift
from rnnexport.versions import machine
from tests.bundles import GRU, LSTM, copy_of


@pytest.mark.parametrize("bundle", [LSTM, GRU], ids=["lstm", "gru"])
def test_float32_stays_bounded(bundle: Path) -> None:
    report = drift(bundle, ["ort-cpu", "openvino-cpu"], steps=2000)
    assert report.exit_status == 0
    for runtime in report.runtimes:
        assert runtime.bounded
        assert runtime.errors[-1][0] == 2000
        assert 0 < max(error for _, error in runtime.errors) < 1e-4


def test_the_horizon_is_the_first_step_past_the_tolerance(tmp_path: Path) -> None:
    bundle = copy_of(GRU, tmp_path / "gru")
    largest = [error for _, error in drift(GRU, ["ort-cpu"], steps=500).runtimes[0].errors]
    tolerance = float(np.median(largest))
    manifest = load_bundle(bundle).manifest
    tight = manifest.tolerances["float32"].model_copy(update={"atol": tolerance, "rtol": 0.0})
    seal(bundle, manifest.model_copy(update={"tolerances": {"float32": tight}}))
    report = drift(bundle, ["ort-cpu"], steps=500)
    (runtime,) = report.runtimes
    assert runtime.horizon is not None
    window = next(number for number, (_, error) in enumerate(runtime.errors) if error > tolerance)
    starts = [0, *(end for end, _ in runtime.errors)]
    assert starts[window] <= runtime.horizon < runtime.errors[window][0]


@pytest.mark.skipif("bf16" not in machine()["features"], reason="this CPU has no bfloat16 instructions")
def test_bfloat16_is_far_worse_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = drift(GRU, ["ort-cpu", "openvino-cpu-bf16", "torch-cpu"], steps=300)
    full, narrow, torch_cpu = report.runtimes
    assert torch_cpu.not_applicable is not None
    assert max(e for _, e in narrow.errors) > 100 * max(e for _, e in full.errors)
    plot_drift(report, tmp_path / "drift.svg")
    drawn = (tmp_path / "drift.svg").read_text()
    assert "openvino-cpu-bf16" in drawn
    assert drift_tables(report)
