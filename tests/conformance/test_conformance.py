"""Planted faults are found and boiled down to what they need; real runtimes do only what is known of them."""

import re
import subprocess
import sys

import onnx
import pytest
from typer.testing import CliRunner

from rnnexport.cli.app import app
from rnnexport.conformance import ConformanceReport, conformance
from rnnexport.errors import InputError
from rnnexport.report.conformance import conformance_markdown

# What is known of the runtimes that are installed: kind, and words that the cause holds; docs/results has more.
KNOWN = {
    "ort-cpu": [
        ("wrong", ["sequence_lens zero", "initial_"]),
        ("wrong", ["ThresholdedRelu", "alpha_and_beta default"]),
        ("refused", ["layout 1"]),
    ],
    "openvino-cpu": [
        ("wrong", ["sequence_lens", "shapes not static"]),
        ("wrong", ["sequence_lens zero", "initial_"]),
        ("wrong", ["LSTM", "P given"]),
        ("wrong", ["LSTM", "input_forget 1"]),
        ("wrong", ["layout 1"]),
        ("wrong", ["2 nodes · node 2: input graph · batch not 1 · time not 1"]),
        ("refused", ["layout 1"]),
        ("refused", ["f not default or Sigmoid or Tanh or Relu"]),
        ("refused", ["g not default or Sigmoid or Tanh or Relu"]),
        ("refused", ["h not default or Sigmoid or Tanh or Relu"]),
    ],
}


def bad(report):
    return [finding for finding in report.runtimes[0].findings if finding.kind != "refused"]


def is_known(runtime, finding):
    causes = [words for kind, words in KNOWN[runtime] if kind == finding.kind]
    return any(all(word in finding.cause for word in words) for words in causes)


@pytest.mark.slow
def test_a_planted_lie_is_boiled_down_to_the_corner_in_which_it_lies(planted, tmp_path):
    report = conformance([planted("lying")], examples=60, out=tmp_path / "out")
    (lie,) = [finding for finding in bad(report) if "GRU" in finding.cause]
    assert lie.cause == "GRU · direction reverse · linear_before_reset 0"
    assert lie.example == {
        "nodes": [{"op_type": "GRU", "direction": "reverse", "hidden_size": 1}],
        **dict.fromkeys(["batch", "time", "input_size"], 1),
    }
    assert lie.kind == "wrong"
    assert lie.reproduced
    assert report.exit_status == 1


@pytest.mark.slow
def test_a_crash_is_a_finding_and_the_search_goes_on(planted):
    report = conformance([planted("crashing")], examples=20)
    crash, *_ = bad(report)
    assert (crash.kind, crash.cause) == ("crash", "LSTM · P given")
    assert "SIGSEGV" in crash.message
    assert sum(report.runtimes[0].counts.values()) == 20
    assert report.runtimes[0].counts["right"] > 0


@pytest.mark.slow
def test_what_goes_wrong_on_the_second_call_only_is_found(planted):
    causes = [finding.cause for finding in bad(conformance([planted("forgetful")], examples=80, seed=1))]
    assert "second_call other batch or other batch and time" in causes


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["ort-cpu", pytest.param("openvino-cpu", marks=pytest.mark.slow)])
def test_a_real_runtime_does_only_what_is_known_of_it(runtime):
    report = conformance([runtime], examples=50)
    unknown = [
        finding
        for finding in report.runtimes[0].findings
        if not any(
            finding.kind == kind and all(word in finding.cause for word in words) for kind, words in KNOWN[runtime]
        )
    ]
    assert not unknown
    assert report.runtimes[0].counts["right"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["ort-cpu", "openvino-cpu"])
def test_a_minimal_case_reproduces_without_rnnexport(runtime, tmp_path):
    finding, *_ = bad(conformance([runtime], examples=25, out=tmp_path))
    onnx.checker.check_model(tmp_path / finding.folder / "model.onnx", full_check=True)
    hidden = "import sys; sys.modules['rnnexport'] = None; import runpy; runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-c", hidden, str(tmp_path / finding.folder / "reproduce.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "DIFFERS" in done.stdout


@pytest.mark.slow
def test_one_seed_gives_one_report():
    first, second = (conformance(["ort-cpu"], examples=15, seed=3) for _ in range(2))
    assert first == second
    assert conformance(["ort-cpu"], examples=15, seed=4).runtimes != first.runtimes


def run(*arguments):
    return CliRunner().invoke(app, ["conformance", "--runtime", "ort-cpu", *map(str, arguments)])


def test_the_command_prints_what_it_writes(tmp_path):
    done = run("--examples", 15, "--json", "--out", tmp_path / "out")
    assert done.exit_code == 1
    report = ConformanceReport.model_validate_json(done.stdout)
    assert report == ConformanceReport.model_validate_json((tmp_path / "out" / "conformance.json").read_text())
    causes = [finding.cause for finding in report.runtimes[0].findings]
    document = conformance_markdown(report)
    assert all(f"| {cause} |" in document for cause in causes)
    assert "| layout 1 | refused" in document


def test_the_command_prints_tables_for_people_and_for_documents():
    assert "| all examples | right 1 | - |" in run("--examples", 1, "--markdown").stdout
    table = run("--examples", 1)
    assert table.exit_code == 0
    assert re.search("all examples +│ right 1 ", table.stdout)


@pytest.mark.parametrize(
    ("runtime", "options", "message"),
    [
        ("torch-cpu", {}, "runtime 'torch-cpu' runs source models, not ONNX files; choose another"),
        ("ort-cpu", {"examples": 0}, "examples is 0; draw at least 1"),
        ("ort-gpu", {}, "runtime 'ort-gpu' is unknown"),
    ],
)
def test_rejects_what_cannot_be_drawn_or_run(runtime, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        conformance([runtime], **options)


def test_replaces_a_report_and_nothing_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"holds 'thesis\.tex', which is of no earlier report; name another"):
        conformance(["ort-cpu"], examples=1, out=tmp_path)
    for _ in range(2):
        conformance(["ort-cpu"], examples=1, out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["conformance.json"]
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds 'thesis\.tex', which is of no earlier report"):
        conformance(["ort-cpu"], examples=1, out=tmp_path / "out")


def test_says_what_to_install_where_hypothesis_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(InputError, match=r'needs hypothesis; run: pip install "rnnexport\[conformance\]"$'):
        conformance(["ort-cpu"])
