"""The command line: what it prints, where, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from tests.command_line import Run

LSTM, GRU = (str(path) for path in reference_bundles())


HEAVY = ("torch", "onnx", "onnx_ir", "onnxruntime", "openvino", "numpy", "lightning", "sktime")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["bench", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys; sys.argv = ['rnnexport', *{arguments}]\nfrom rnnexport.cli import main\n"
    code += f"try: main()\nexcept SystemExit: print(sorted(set(sys.modules) & set({HEAVY})), file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == "[]"
    assert "rnnexport" in ended.stdout


COMMANDS = [
    *("train", "export", "verify", "drift", "bench", "report", "predict", "show"),
    *("lint", "optimize", "check", "runtimes", "doctor", "demo", "schema", "conformance", "compare"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(run: Run, command: str) -> None:
    outcome = run(command, "--help")
    assert outcome.status == 0
    assert f"Example: rnnexport {command}" in outcome.out


def test_runtimes_says_what_mends_an_unusable_one(run: Run) -> None:
    statuses = {status["definition"]["name"]: status for status in json.loads(run("runtimes", "--json").out)}
    assert statuses["ort-cpu"]["availability"]["usable"]
    if not statuses["ort-cuda"]["availability"]["usable"]:
        assert "onnxruntime-gpu" in statuses["ort-cuda"]["availability"]["remedy"]


def test_verify_passes_every_runtime_on_the_reference_bundles(run: Run) -> None:
    outcome = run("verify", LSTM, GRU, "--json")
    assert outcome.status == 0, outcome.err
    for report in json.loads(outcome.out):
        names = [runtime["definition"]["name"] for runtime in report["runtimes"]]
        assert {"ort-cpu", "openvino-cpu", "torch-cpu"} <= set(names)
        assert all(runtime["metric"] == report["reference_metric"] for runtime in report["runtimes"])


def test_bench_without_a_gpu_ends_with_status_3_and_the_remedy(run: Run) -> None:
    statuses = {status["definition"]["name"]: status for status in json.loads(run("runtimes", "--json").out)}
    if statuses["ort-cuda"]["availability"]["usable"]:
        pytest.skip("this machine has a CUDA device")
    outcome = run("bench", "--runtime", "ort-cuda")
    assert (outcome.status, outcome.out) == (3, "")
    assert "runtime 'ort-cuda' is not usable" in outcome.err
    assert "onnxruntime-gpu" in outcome.err


def test_bench_measures_the_usable_ones_and_says_which_is_not(run: Run) -> None:
    outcome = run("bench", GRU, "--runtime", "ort-cpu", "--runtime", "torch-cuda", "--seconds", "0.05", "--json")
    report = json.loads(outcome.out)
    if not report["not_usable"]:
        pytest.skip("this machine has a CUDA device")
    assert outcome.status == 3
    assert [row["definition"]["name"] for row in report["measurements"]] == ["ort-cpu"]
    assert len(report["measurements"][0]["repetitions"][0]["windows_ns"]) >= 5


def test_bench_measures_every_shape(run: Run) -> None:
    shapes = ["--batch-size", "1", "--batch-size", "3", "--time-steps", "5,9", "--repetitions", "1"]
    outcome = run("bench", GRU, "--runtime", "ort-cpu", "--seconds", "0.02", "--json", *shapes)
    rows = json.loads(outcome.out)["measurements"]
    assert [(row["batch_size"], row["time_steps"]) for row in rows] == [(1, 5), (1, 9), (3, 5), (3, 9)]


def test_bench_prints_a_table(run: Run) -> None:
    outcome = run("bench", GRU, "--runtime", "ort-cpu", "--seconds", "0.05")
    assert outcome.status == 0
    assert "median" in outcome.out
    assert "ort-cpu" in outcome.out
    assert all(line.startswith("measuring") for line in outcome.err.splitlines())  # progress, where that takes long


@pytest.mark.slow
def test_bench_compares_with_an_earlier_result_and_with_a_runtime(run: Run, tmp_path: Path) -> None:
    quick = ["bench", GRU, "--runtime", "ort-cpu", "--seconds", "0.02", "--repetitions", "1", "--json"]
    (tmp_path / "before.json").write_text(run(*quick).out)
    compared = run(*quick, "--compare", str(tmp_path / "before.json"), "--fail-over", "1000%")
    assert compared.status == 0
    (comparison,) = json.loads(compared.out)["comparisons"]
    assert (comparison["before"], comparison["after"]) == ("reference-gru in ort-cpu",) * 2
    against = json.loads(run(*quick, "--against", "openvino-cpu").out)
    assert [(c["before"], c["after"]) for c in against["comparisons"]] == [
        ("reference-gru in openvino-cpu", "reference-gru in ort-cpu")
    ]


@pytest.mark.slow
def test_bench_sweeps_over_bare_layers(run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "sweep.jsonl")
    sweep = ["bench", "--hidden-size", "8", "--cell", "gru", "--time-steps", "3", "--seconds", "0.02", "--out", out]
    outcome = run(*sweep, "--runtime", "ort-cpu")
    assert outcome.status == 0, outcome.out
    assert "gru-8, stock export" in outcome.out
    assert run(*sweep, "--runtime", "ort-cpu").status == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([GRU, "--hidden-size", "8"], "measure layers of their own, not"),
        (["--hidden-size", "8", "--against", "ort-cpu"], "--against is for bundles, not for bare layers"),
        (["--all-shapes"], "either --shapes deepbench or --hidden-size N"),
        (["--shapes", "deepbench", "--time-steps", "4"], "--time-steps goes with --hidden-size"),
        (["--hidden-size", "8", "--cell", "rnn"], "cell 'rnn' is unknown"),
    ],
)
def test_bench_refuses_wrong_sweeps(run: Run, arguments: list[str], message: str) -> None:
    outcome = run("bench", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err


@pytest.mark.parametrize(("scenario", "heading"), [(["server", "--rate", "5000"], "mean batch")])
def test_bench_has_scenarios(run: Run, scenario: list[str], heading: str) -> None:
    outcome = run("bench", GRU, "--runtime", "ort-cpu", "--seconds", "0.02", "--scenario", *scenario)
    assert outcome.status == 0, outcome.out
    assert heading in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "nowhere.json"], "nowhere.json cannot be read: No such file or directory"),
        (["--batch-size", "1,x"], "--batch-size 'x' is no whole number above 0"),
        (["--time-steps", "0"], "--time-steps '0' is no whole number above 0"),
        (["--against", "ort-cpy"], "runtime 'ort-cpy' is unknown; did you mean 'ort-cpu'?"),
        (["--fail-over", "much"], "--fail-over 'much' is no percentage"),
        (["--plot", "out.gif"], "choose a name that ends in .svg, .png or .pdf"),
        (["--rate", "4"], "--rate is no option of --scenario latency, which takes: --against"),
        (["--scenario", "server"], "the server scenario takes either --rate or --p99-limit"),
        (["--scenario", "mix", "--batch-size", "1,2"], "--batch-size takes one number in this scenario, not 2"),
    ],
)
def test_bench_refuses_wrong_options(run: Run, arguments: list[str], message: str) -> None:
    outcome = run("bench", GRU, "--runtime", "ort-cpu", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err


def test_a_local_definition_that_hides_a_shipped_one_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runtimes").mkdir()
    Path("runtimes/ort-cpu.toml").write_text('engine = "onnxruntime"\nprecision = "float32"\nthreads = 1\n')
    outcome = run("bench", GRU, "--runtime", "ort-cpu", "--seconds", "0.02", "--json")
    assert "runtime 'ort-cpu' is runtimes/ort-cpu.toml, not the one that comes with rnnexport" in outcome.err
    assert json.loads(outcome.out)["measurements"][0]["definition"]["threads"] == 1


def test_show_lists_the_files_and_the_evidence(run: Run) -> None:
    outcome = run("show", GRU)
    assert outcome.status == 0
    assert "weights.safetensors" in outcome.out
    assert "[batch, time, 12]" in outcome.out


def test_predict_names_the_class_of_each_series(run: Run, tmp_path: Path) -> None:
    evaluation = load_bundle(Path(GRU)).evaluation
    assert evaluation is not None
    series = {f"recording {i}": values for i, values in enumerate(evaluation.series)}
    np.savez(tmp_path / "recordings.npz", allow_pickle=False, **series)
    outcome = run("predict", GRU, str(tmp_path / "recordings.npz"), "--json")
    predicted = [prediction["class_name"] for prediction in json.loads(outcome.out)["series"]]
    names = load_bundle(Path(GRU)).manifest.class_names
    right = [name == names[label] for name, label in zip(predicted, evaluation.labels, strict=True)]
    assert np.mean(right) > 0.9


def test_predict_writes_every_answer_and_prints_the_first(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", np.random.default_rng(0).normal(size=(70, 5, 12)).astype(np.float32))
    outcome = run("predict", GRU, str(tmp_path / "many.npy"))
    assert outcome.status == 0
    assert "70 series; 20 more with --out" in outcome.out
    assert len(outcome.out.splitlines()) < 60
    outcome = run("predict", GRU, str(tmp_path / "many.npy"), "--out", str(tmp_path / "out.csv"))
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err.endswith(f"70 predictions are in {tmp_path / 'out.csv'}\n")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 71


def test_a_plan_that_is_not_used_is_one_line_on_stderr(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "plan.toml").write_text("graph = ")
    np.save(tmp_path / "one.npy", np.zeros((5, 12), np.float32))
    outcome = run("predict", str(bundle.path), str(tmp_path / "one.npy"), "--json")
    assert outcome.status == 0
    assert json.loads(outcome.out)["series"][0]["name"] == "one"
    assert outcome.err.startswith(f"rnnexport: the baseline runs: {bundle.path / 'plan.toml'} is damaged: ")
    assert outcome.err.endswith(f"; run: rnnexport tune {bundle.path}\n")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["predict", GRU, "series.npz", "--out", "out.txt"], 2, "out.txt is none of .csv, .parquet, .json"),
        (["verify", "nowhere"], 2, "bundle 'nowhere' does not exist; make one with: rnnexport export"),
        (["verify", GRU, "--runtime", "ort-gpu"], 2, "runtime 'ort-gpu' is unknown; did you mean 'ort-cpu'?"),
        (["train", "--cell", "gruu"], 2, "cell 'gruu' is unknown; did you mean 'gru'?"),
        (["train", "--task", "vowel"], 2, "task 'vowel' is unknown; did you mean 'vowels'?"),
        (["export", "--cell", "gruu"], 2, "cell 'gruu' is unknown; did you mean 'gru'?"),
        (["predict", GRU, "nowhere.npz"], 2, "nowhere.npz does not exist"),
        (["predict", GRU, "series.txt"], 2, "series.txt is none of .npy, .npz, .csv, .parquet"),
    ],
)
def test_bad_input_is_one_clear_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run(*arguments)
    assert (outcome.status, outcome.out) == (status, "")
    assert outcome.err.startswith(f"rnnexport: {message}")
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_export_without_a_checkpoint_says_which_command_makes_one(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("export", "--cell", "gru")
    assert outcome.status == 2
    assert "rnnexport train --cell gru" in outcome.err


def test_train_export_verify_bench_in_that_order(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    trained = run("train", "--task", "article", "--cell", "gru", "--epochs", "1", "--json")
    assert trained.status == 0, trained.err
    assert run("export", "--cell", "gru").status == 0
    verified = run("verify", "exported/gru", "--runtime", "ort-cpu")
    assert verified.status == 0, verified.out
    assert run("bench", "exported/gru", "--runtime", "ort-cpu", "--seconds", "0.05").status == 0
    shown = run("show", "exported/gru").out
    assert shown.count("current") == 2


def test_an_interrupt_ends_with_status_130() -> None:
    code = "import signal, os, sys; sys.argv = ['rnnexport', 'runtimes']\nimport rnnexport.cli as cli\n"
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in what runs in the background
    code += "import rnnexport.runtime.definitions as r\n"
    code += "r.list_definitions = lambda: os.kill(os.getpid(), signal.SIGINT)\ncli.main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_lint_ends_with_status_1_where_something_is_wrong(run: Run, tmp_path: Path) -> None:
    clean = reference_bundles()[1] / "model.onnx"
    assert run("lint", str(clean)).status == 0
    outcome = run("show", str(clean))
    assert "GRU" in outcome.out
    assert "x" in outcome.out
    model = onnx.load(clean)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    onnx.save(model, tmp_path / "wrong.onnx")
    outcome = run("lint", str(tmp_path / "wrong.onnx"), "--json")
    assert outcome.status == 1
    assert [finding["rule"] for finding in json.loads(outcome.out)["findings"]] == ["output-shape"]
    log = json.loads(run("lint", str(tmp_path / "wrong.onnx"), "--sarif").out)
    assert log["runs"][0]["results"][0]["ruleId"] == "output-shape"
    assert run("lint", str(tmp_path / "wrong.onnx"), "--fix").status == 2
    repaired = tmp_path / "right.onnx"
    assert run("lint", str(tmp_path / "wrong.onnx"), "--fix", "-o", str(repaired)).status == 0
    assert run("lint", str(repaired)).status == 0


@pytest.mark.slow
def test_the_demo_shows_each_command_and_names_its_report(run: Run, tmp_path: Path) -> None:
    outcome = run("demo", "--out", tmp_path / "tour", "--seconds", "0.02")
    assert outcome.status == 0, outcome.out + outcome.err
    shown = [line.split()[2] for line in outcome.out.splitlines() if line.startswith("$ rnnexport ")]
    assert shown[:4] == ["show", "lint", "verify", "bench"]
    named = next(line for line in outcome.out.splitlines() if line.startswith("The report is "))
    assert Path(named.removeprefix("The report is ").removesuffix(".")).stat().st_size > 100
    assert load_bundle(tmp_path / "tour/gru").evidence("parity.json") == "current"


def test_optimize_prints_the_layers_and_the_price(run: Run, tmp_path: Path) -> None:
    model, out = str(Path(GRU) / "model.onnx"), str(tmp_path / "fast.onnx")
    outcome = run("optimize", model, "--weights", "int8", "-o", out)
    assert outcome.status == 0, outcome.err
    assert "int8 by matmulnbits" in outcome.out
    assert "largest difference" in outcome.out
    report = json.loads(run("optimize", model, "--weights", "int8", "-o", out, "--json").out)
    assert [row["runtime"] for row in report["differences"]] == ["ONNX Runtime", "OpenVINO"]
    assert 1e-5 < report["differences"][0]["largest"] < 0.1
    refused = run("optimize", model, "--lowering", "fused", "--weights", "int4", "-o", out)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.count("\n") == 1
