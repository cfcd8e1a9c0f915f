"""What commands leave in a bundle says what it is of, when it was made, and how."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

import rnnexport
from rnnexport.benchmark import limits
from rnnexport.benchmark.machine import Machine, Rate
from rnnexport.benchmark.results import BenchReport
from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.evidence import read_evidence
from rnnexport.linting.results import LintReport
from rnnexport.parity.drift import DriftReport, drift
from rnnexport.training.training import TrainingResult
from tests.command_line import Run
from tests.evidence import export_again


def test_what_a_command_keeps_names_the_command_and_the_time(bundle: Bundle, run: Run) -> None:
    assert read_evidence(bundle, "drift.json", DriftReport).state == "none"
    run("drift", bundle.path, "--runtime", "ort-cpu", "--steps", "50")
    evidence = read_evidence(bundle, "drift.json", DriftReport)
    assert evidence.state == "current"
    assert evidence.command == f"rnnexport drift {bundle.path} --runtime ort-cpu --steps 50"
    assert evidence.made_at is not None
    assert abs((datetime.now(UTC) - datetime.fromisoformat(evidence.made_at)).total_seconds()) < 3600
    assert evidence.report is not None
    assert evidence.report.steps == 50


def test_a_call_from_python_is_kept_as_it_is_typed(bundle: Bundle) -> None:
    report = drift(bundle.path, ["ort-cpu"], steps=20, on_progress=print)
    evidence = read_evidence(bundle, "drift.json", DriftReport)
    assert evidence.report == report
    assert evidence.command == f"rnnexport.drift(path={str(bundle.path)!r}, runtimes=['ort-cpu'], steps=20)"


def test_evidence_of_an_earlier_export_is_stale_and_what_is_no_evidence_is_damaged(bundle: Bundle) -> None:
    report = LintReport(path="model.onnx", findings=[])
    bundle.write_evidence("lint.json", report.model_dump(mode="json"))
    exported_again = export_again(bundle)
    evidence = read_evidence(exported_again, "lint.json", LintReport)
    assert (evidence.state, evidence.report) == ("stale", report)
    for content in ("{", "[]", "3", '{"schema_version": 99}', "[" * 100_000):
        (bundle.path / "lint.json").write_text(content)
        assert read_evidence(exported_again, "lint.json", LintReport).state == "damaged"


def test_bench_keeps_the_roofline_and_each_bundle_its_own_rows(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = Rate(one=1e15, all=1e15)
    probed = Machine(cores=1, flop_per_second={"float32": rate}, levels=(), fork_join_ns=0.0)
    monkeypatch.setattr(limits, "probe_machine", lambda: probed)
    shutil.copytree(bundle.path, tmp_path / "other")
    paths = [bundle.path, tmp_path / "other"]
    rnnexport.bench(paths, ["ort-cpu"], seconds=0.01, repetitions=1, roofline=True, against=bundle.path)
    for path in paths:
        report = read_evidence(load_bundle(path), "bench.json", BenchReport).report
        assert report is not None
        assert report.analysis.roofline is not None
        named = {row.bundle for row in report.measurements} | {row.bundle for row in report.analysis.roofline.rows}
        assert named == {str(path)}
        assert [comparison.after for comparison in report.comparisons] == ["other in ort-cpu"] * (path != bundle.path)


def test_a_bundle_of_a_checkpoint_keeps_its_training(bundle: Bundle, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    names = [("weights.safetensors", "model.safetensors"), ("model.json",) * 2, ("evaluation.npz",) * 2]
    for name, copy in names:
        shutil.copyfile(bundle.path / name, checkpoint / copy)
    settings = {"task": "vowels", "cell": "gru", "hidden_size": 64, "num_layers": 1, "bidirectional": False}
    settings |= {"dropout": 0, "epochs": 2, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0, "seed": 0}
    settings |= {"gradient_clip": 1, "schedule": "constant", "precision": "float32", "devices": 1, "num_nodes": 1}
    scores = dict.fromkeys(("test", "validation", "train", "baseline", "seconds"), 0.5)
    history = [{"train_loss": 2.0, "validation_loss": 1.5, "validation_metric": 0.5}] * 2
    metrics = {"folder": "x", "settings": settings, "metric": "accuracy", **scores, "parameters": 1, "epochs": 2}
    (checkpoint / "metrics.json").write_text(
        json.dumps({**metrics, "cpu_seconds_per_epoch": None, "history": history, "versions": {}})
    )
    exported = rnnexport.export(checkpoint, tmp_path / "exported")
    assert "training.json" in exported.manifest.files
    evidence = read_evidence(exported, "training.json", TrainingResult)
    assert evidence.state == "current"
    assert evidence.report is not None
    assert evidence.report.history == history
