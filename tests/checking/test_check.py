"""One verdict on several models: what is planted is named, and hides nothing of its neighbours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from rnnexport.benchmark.results import RowComparison
from rnnexport.benchmark.verdicts import Verdict
from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.bundle.store import seal
from rnnexport.checking.check import check
from rnnexport.checking.steps import timed
from rnnexport.runtime.definitions import load_definition, runtime_status
from tests.bundles import Labels
from tests.command_line import Run
from tests.evidence import EVIDENCE

QUICK = """[verify]
runtimes = ["ort-cpu"]
grid = "quick"
[bench]
runtimes = ["ort-cpu"]
seconds = 0.02
repetitions = 1
"""
OTHER_BYTES = onnx.ModelProto(doc_string="the same model, another file").SerializeToString()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working directory, with a bundle in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(reference_bundles()[1], "gru", ignore=EVIDENCE)
    return tmp_path


def change_a_weight(bundle: Bundle) -> None:
    """Plant what no hash shows: the manifest is written anew."""
    model = onnx.load(bundle.model_path)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(largest).copy()
    values.flat[5] += 1
    largest.CopyFrom(numpy_helper.from_array(values, largest.name))
    onnx.save(model, bundle.model_path)
    seal(bundle.path, bundle.manifest)


def failed(model: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["step"], each["subject"]) for each in model["outcomes"] if each["kind"] == "failed"}


def test_every_planted_fault_is_named_and_the_neighbours_are_judged(run: Run, folder: Path) -> None:
    for name in ("a lint fault", "altered"):
        shutil.copytree("gru", name)
    model = onnx.load("gru/model.onnx")
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    onnx.save(model, "a lint fault/model.onnx")
    seal(Path("a lint fault"), load_bundle(Path("gru")).manifest)
    Path("altered/evaluation.npz").write_bytes(b"")
    Path("rnnexport.toml").write_text('skip = ["verify", "bench"]\n[limits]\nmodel_size = "10 KB"\n')
    files = ["--junit", "j.xml", "--sarif", "s.json", "--summary", "s.md"]
    outcome = run("check", "altered", "nowhere", "a lint fault", "gru", *files, "--json")
    report = json.loads(outcome.out)
    assert outcome.status == 1
    assert not report["passed"]
    found = {model["name"]: failed(model) for model in report["models"]}
    assert found["altered"] == {("export", "altered")}
    assert found["nowhere"] == {("export", "nowhere")}
    assert found["a lint fault"] == {("lint", "output-shape"), ("limits", "model_size")}
    assert found["gru"] == {("limits", "model_size")}
    assert report["verdict"].startswith("failed: 4 of 4 models: altered (export), nowhere (export), a lint fault (")
    assert [each["kind"] for each in report["models"][3]["outcomes"] if each["step"] == "lint"] == ["passed"]
    assert_junit(ElementTree.parse("j.xml").getroot(), report)
    assert_sarif(json.loads(Path("s.json").read_text()))
    summary = Path("s.md").read_text()
    said = ("❌ lint", "output-shape", "altered: 1 outcome<", "evaluation.npz was changed")
    assert all(name in summary for name in said)


def assert_junit(root: ElementTree.Element, report: dict[str, Any]) -> None:
    suites = {suite.get("name"): suite for suite in root}
    for model in report["models"]:
        cases = [(case.get("name"), case.find("failure") is not None) for case in suites[model["name"]]]
        assert cases == [(f"{o['step']}: {o['subject']}", o["kind"] == "failed") for o in model["outcomes"]]
    assert float(root.get("time", 0)) == report["seconds"]
    assert int(root.get("failures", 0)) == sum(len(failed(model)) for model in report["models"])


def assert_sarif(log: dict[str, Any]) -> None:
    """What SARIF 2.1.0 and code review tools require of a log."""
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (part,) = log["runs"]
    driver = part["tool"]["driver"]
    rules = [rule["id"] for rule in driver["rules"]]
    assert driver["name"] == "rnnexport"
    assert len(set(rules)) == len(rules)
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    for result in part["results"]:
        assert result["ruleId"] in rules
        assert result["level"] in ("error", "warning", "note", "none")
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["region"]["startLine"] >= 1
        assert " " not in place["artifactLocation"]["uri"]
    places = {r["ruleId"]: r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in part["results"]}
    assert places["output-shape"] == "a%20lint%20fault/model.onnx"
    assert places["limits"] == "gru/model.onnx"


@pytest.mark.slow
def test_a_changed_weight_is_named_and_not_kept_as_a_baseline(folder: Path) -> None:
    change_a_weight(load_bundle(Path("gru")))
    Path("rnnexport.toml").write_text(f'skip = ["lint", "bench"]\n{QUICK}')
    said = {(each.step, each.subject): each.message for _, each in check(["gru"], write_baseline=True).failed}
    assert set(said) == {("verify", "ort-cpu"), ("baseline", "kept")}
    assert "the file is wrong, not the runtime" in said["verify", "ort-cpu"]
    assert not Path("rnnexport-baseline").exists()


def test_what_changed_since_the_baseline_is_named(folder: Path) -> None:
    Path("rnnexport.toml").write_text('skip = ["lint", "verify", "bench"]\n')
    assert check(["gru"], write_baseline=True).passed
    assert check(["gru"]).passed
    model = onnx.load("gru/model.onnx")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(9000, np.float32), "ballast"))
    onnx.save(model, "gru/model.onnx")
    before = load_bundle(Path("rnnexport-baseline/gru")).manifest
    seal(Path("gru"), before)
    (found,) = check(["gru"]).models
    assert [each.subject for each in found.of_kind("failed")] == ["size"], "the answers that are kept are the old ones"
    change_a_weight(load_bundle(Path("gru")))
    (found,) = check(["gru"]).models
    assert [each.subject for each in found.of_kind("failed")] == ["answers", "size"]
    first, *others = before.inputs
    longer = first.model_copy(update={"shape": (*first.shape[:-1], 13)})
    seal(Path("gru"), before.model_copy(update={"inputs": (longer, *others)}))
    (found,) = check(["gru"]).models
    (changed,) = found.of_kind("failed")
    assert changed.subject == "interface"
    assert "input 'x' was float32 [batch, time, 12], is float32 [batch, time, 13]" in changed.message


@pytest.mark.slow
def test_limits_are_held_and_the_baseline_is_measured_beside(folder: Path) -> None:
    rules = '[limits]\nlatency_ms = 1e-6\nmemory = "99 GB"\n[baseline]\nmetric_drop = 0.001\n'
    Path("rnnexport.toml").write_text(f'skip = ["lint"]\n{QUICK}{rules}')
    shutil.copytree("gru", "rnnexport-baseline/gru")
    Path("rnnexport-baseline/gru/parity.json").write_text('{"metric": "accuracy", "reference_metric": 1.0}')
    Path("gru/model.onnx").write_bytes(Path("gru/model.onnx").read_bytes() + OTHER_BYTES)
    seal(Path("gru"), load_bundle(Path("rnnexport-baseline/gru")).manifest)
    (found,) = check(["gru"]).models
    assert [(each.step, each.subject) for each in found.of_kind("failed")] == [
        ("baseline", "metric"),
        ("limits", "latency_ms"),
    ]
    assert [each.kind for each in found.outcomes if each.subject == "memory"] == ["passed"]
    assert found.bench is not None
    assert {row.bundle for row in found.bench.measurements} == {"gru", "rnnexport-baseline/gru"}
    (timed_outcome,) = [each for each in found.outcomes if each.step == "bench"]
    assert "the baseline" in timed_outcome.message


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_file_is_exported_and_judged(folder: Path) -> None:
    torch.manual_seed(0)
    torch.jit.trace(Labels().eval(), torch.zeros(2, 7, 5)).save("net.pt")
    models = '[[models]]\nsource = "net.pt"\ninputs = ["x:float32[batch,time,5]"]\n'
    Path("rnnexport.toml").write_text('skip = ["bench"]\n' + QUICK + models)
    report = check([])
    assert report.passed
    assert {outcome.step for outcome in report.models[0].outcomes if outcome.kind == "passed"} >= {"export", "verify"}


@pytest.mark.slow
def test_findings_in_a_source_name_the_file_of_the_user(run: Run, folder: Path) -> None:
    model = onnx.load("gru/model.onnx")
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    onnx.save(model, "tagger.onnx")
    Path("rnnexport.toml").write_text(f'skip = ["bench"]\n{QUICK}')
    outcome = run("check", "tagger.onnx", "--sarif", "s.json", "--json")
    (found,) = json.loads(outcome.out)["models"]
    assert failed(found) == {("lint", "output-shape")}
    assert found["bundle"] == "exported/tagger"
    (result,) = json.loads(Path("s.json").read_text())["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "tagger.onnx"


def test_a_runtime_that_does_not_work_here_is_no_fault_of_the_model(run: Run, folder: Path) -> None:
    if runtime_status(load_definition("ort-cuda")).availability.usable:
        pytest.skip("this machine has a CUDA device")
    Path("rnnexport.toml").write_text('skip = ["lint", "bench"]\n[verify]\nruntimes = ["ort-cuda"]\n')
    outcome = run("check", "gru", "--junit", "j.xml")
    assert outcome.status == 3
    assert "passed: 1 model; runtimes that were named do not work here" in outcome.out
    errors = [
        case.get("name") for case in ElementTree.parse("j.xml").iter("testcase") if case.find("error") is not None
    ]
    assert errors == ["verify: gru"]


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (Verdict(outcome="slower", ratio=1.2, interval=(1.15, 1.3)), "failed"),
        (Verdict(outcome="slower", ratio=1.08, interval=(1.06, 1.1)), "passed"),
        (Verdict(outcome="faster", ratio=0.5, interval=(0.4, 0.6)), "passed"),
        (Verdict(outcome="equivalent", ratio=1.0, interval=(0.99, 1.01)), "passed"),
        (Verdict(outcome="cannot tell", reason="only 2 windows before were undisturbed"), "not judged"),
    ],
)
def test_only_what_is_shown_to_be_slower_than_allowed_fails(verdict: Verdict, kind: str) -> None:
    compared = RowComparison(before="a", after="b", batch_size=1, time_steps=25, verdict=verdict)
    assert timed(1_000_000, compared, 0.1)[0] == kind
