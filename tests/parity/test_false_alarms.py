"""A correct file in a correct runtime raises no alarm."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings

import rnnexport
from rnnexport.parity.verify import verify
from tests.parity.drawn_graphs import KINDS, graph
from tests.parity.drawn_models import Spec, build, specs


def judge(model: onnx.ModelProto) -> int:
    """Export and verify a drawn file; the number of calls judged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        bundle = rnnexport.export(path, Path(folder) / "bundle")
        report = verify(bundle.path, ["ort-cpu"])
    (runtime,) = report.runtimes
    assert runtime.passed, [case for case in runtime.cases if not case.passed]
    assert runtime.diagnosis is None
    assert "stress inputs in 3 of " in str(report.inputs)
    assert not any("(stress)" in row["worst_call"] for row in report.records())
    return len(runtime.cases)


@settings(max_examples=2)
@given(specs())
def test_a_few_drawn_files_raise_none(spec: Spec) -> None:
    assert judge(build(spec)) >= 12


@pytest.mark.slow
@settings(max_examples=45)
@given(specs())
def test_more_than_500_calls_of_drawn_files_raise_none(spec: Spec) -> None:
    assert judge(build(spec)) >= 12  # 45 files of 12 calls or more


@pytest.mark.slow
@pytest.mark.parametrize("opset", [13, 15, 17])
@pytest.mark.parametrize("kind", KINDS)
def test_drawn_graphs_with_other_operators_raise_none(kind: str, opset: int) -> None:
    assert sum(judge(graph(kind, seed, opset)) for seed in range(3)) >= 36  # 63 files in all
