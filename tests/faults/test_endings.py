"""However a command ends: the status that shells expect, one line, and nothing left running or lying about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rnnexport.bundle.bundle import load_bundle, reference_bundles
from tests.faults.fault_oracle import Outcome, run

GRU = str(reference_bundles()[1])
USER_CODE = """
import sys
from torch import nn
print("hello from the module")
class Quits(nn.Module):
    def forward(self, x):
        sys.exit(0)
class QuitsWhenBuilt(nn.Module):
    def __init__(self):
        sys.exit(0)
class Interrupts(nn.Module):
    def forward(self, x):
        raise KeyboardInterrupt
class Leaves(nn.Module):
    def forward(self, x):
        raise GeneratorExit
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work" / "out").mkdir(parents=True)
    return tmp_path


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    # A process that was started in the background inherits that interrupts are ignored.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from rnnexport.cli import main; main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([sys.executable, "-c", code, *arguments], **pipes)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["Quits", "QuitsWhenBuilt", "Interrupts", "Leaves"])
def test_code_of_the_users_cannot_end_a_command(name: str, work: Path) -> None:
    module = f"own_{name.lower()}"
    (work / "work" / f"{module}.py").write_text(USER_CODE)
    outcome = run(["export", f"{module}.py:{name}", "--input", "x:float32[batch,time,3]", "--out", "out/b"], work)
    assert (outcome.verdict, outcome.status, outcome.out) == ("clear", 2, ""), outcome
    assert "hello from the module" in outcome.err
    assert not (work / "work" / "out" / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "m.onnx", "--strict"], "--strict is not for an ONNX file"),
        (["export", "m.onnx", "--opset", "18"], "--opset is not for an ONNX file"),
        (["export", "m.onnx", "--lengths", "none"], "--lengths is not for an ONNX file"),
        (["export", "m.onnx", "--cell", "gru"], "--cell is for an export without a source"),
        (["export", "m.onnx", "--checkpoint", "c"], "--checkpoint is for an export without a source"),
        (["export", "m.onnx", "--weights", "w"], "--weights is for a module of your own"),
        (["export", "--checkpoint", "c", "--input", "x:float32[batch]"], "--input is not for a checkpoint"),
        (["export", "--checkpoint", "c", "--sample", "s.npz"], "--sample is not for a checkpoint"),
        (["verify", "--from", "parity.json", "--grid", "full"], "--grid is not for an earlier result"),
        (["lint", "m.onnx", "--inputs", "s.npz"], "--inputs are to prove a repair with"),
        (["train", "--feature", "a"], "--feature is not for a training without --data"),
        (["train", "--hidden-size", "999999999"], "GiB to train, and"),
        (["bench", GRU, "--time-steps", "99999999999"], "--time-steps 99999999999 is more than any memory holds"),
        (["verify", f"{GRU}/model.onnx"], "is a file of a bundle; give the folder: "),
        (["verify", "m.onnx"], "make one with: rnnexport export m.onnx --out exported/m"),
        (["show", "caf\udce9.onnx"], r"the argument 'caf\udce9.onnx' is not UTF-8"),
        (["bench", GRU, "--scenario", "streaming"], "has no step graph; export it again with --streaming"),
        (["bench", GRU, "-r", "ort-cpu", "--against", "ort-cpu"], "'ort-cpu' is the only runtime that is measured"),
        (["bench", GRU, "--against", GRU], "is the only bundle that is measured"),
        (["drift", GRU, "--steps", "99999999999"], "GiB are free; choose fewer"),
        (
            ["optimize", "m.onnx", "--lowering", "unrolled", "--time-steps", "99999", "-o", "o.onnx"],
            "are more than 64",
        ),
        (["optimize", "m.onnx", "-o", "nowhere/o.onnx"], "--out nowhere/o.onnx: there is no folder"),
        (["optimize", "m.onnx", "-o", "/dev/null"], "--out /dev/null is no regular file, so it is not replaced"),
        (["lint", "m.onnx", "--fix", "-o", "out"], "--out out is a folder; give the file a name"),
        (["compare", "-o", "m.onnx/study"], "m.onnx' is no folder; choose another place"),
        (["export", "m.onnx", "--out", "/"], "exists and is no bundle, so it is not replaced"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused(arguments: list[str], message: str, work: Path) -> None:
    (work / "work" / "m.onnx").write_bytes((reference_bundles()[1] / "model.onnx").read_bytes())
    outcome = run(arguments, work)
    assert (outcome.verdict, outcome.status) == ("clear", 2), outcome
    assert message in outcome.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("m.onnx", ["show", "m.onnx"]),
        ("manifest.json", ["show", "."]),
        ("s.npz", ["predict", GRU, "s.npz"]),
        ("s.npz", ["export", GRU + "/model.onnx", "--inputs", "s.npz", "--out", "out/b"]),
        ("w.pt", ["export", "torch.nn:GRU", "--kwargs", '{"input_size": 2, "hidden_size": 3}', "--weights", "w.pt"]),
        ("model.json", ["export", "--checkpoint", ".", "--out", "out/b"]),
        ("mine.toml", ["predict", GRU, "s.npz", "-r", "mine.toml"]),
        ("b.json", ["bench", GRU, "--compare", "b.json"]),
        ("parity.json", ["verify", "--from", "parity.json"]),
        ("lengths.txt", ["bench", GRU, "--scenario", "mix", "--lengths", "lengths.txt"]),
    ],
)
def test_a_pipe_in_place_of_a_file_is_refused(name: str, arguments: list[str], work: Path) -> None:
    os.mkfifo(work / "work" / name)
    assert (outcome := run(arguments, work)).verdict == "clear", outcome


@pytest.mark.parametrize("command", [["show"], ["lint", "--fix"], ["optimize"], ["export"]])
def test_a_link_to_itself_is_refused(command: list[str], work: Path) -> None:
    (work / "work" / "m.onnx").symlink_to("m.onnx")
    out = ["--out", "out/m.onnx"] if command != ["show"] else []
    outcome = run([*command, "m.onnx", *out], work)
    assert (outcome.verdict, outcome.status) == ("clear", 2), outcome
    assert "m.onnx cannot be read: Too many levels of symbolic links" in outcome.err


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    process = start("show", GRU)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate()
    assert (process.returncode, said) == (128 + signal.SIGPIPE, "")


def test_a_full_standard_output_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        _, said = (process := start("show", GRU, "--json", stdout=full)).communicate()
    assert process.returncode == 2
    assert said == "rnnexport: cannot write to standard output: No space left on device\n"


def test_closed_streams_cost_no_file(work: Path) -> None:
    command = [sys.executable, "-c", "from rnnexport.cli import main; main()", "show", GRU]
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], check=False)
    assert closed.returncode == 0
    load_bundle(Path(GRU))  # which reads every file


def test_an_ascii_terminal_gets_every_table() -> None:
    process = start("show", GRU, env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    printed, said = process.communicate()
    assert (process.returncode, said) == (0, "")
    assert "model.onnx" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_workers_and_removes_their_folders(number: signal.Signals, tmp_path: Path) -> None:
    temporary = {**os.environ, "TMPDIR": str(tmp_path)}
    process = start("bench", GRU, "--runtime", "ort-cpu", "--seconds", "60", env=temporary)
    while not (folders := [*tmp_path.glob("rnnexport-worker-*")]):
        assert process.poll() is None
        time.sleep(0.01)
    workers = _workers(folders)
    process.send_signal(number)
    _, said = process.communicate()
    word = "interrupted" if number is signal.SIGINT else f"ended by {number.name}"
    assert (process.returncode, said.splitlines()[-1]) == (128 + number, f"rnnexport: {word}")
    assert not [*tmp_path.glob("rnnexport-worker-*")]
    until = time.monotonic() + 30  # one that was only starting ends by itself when its parent has
    while left := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


AT_AN_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Strikes:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), int(sys.argv[1]))
sys.meta_path.insert(0, Strikes())
from rnnexport.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_imports_is_one_line(number: signal.Signals) -> None:
    process = subprocess.run([sys.executable, "-c", AT_AN_IMPORT, str(int(number))], capture_output=True, text=True)
    word = "interrupted" if number is signal.SIGINT else f"ended by {number.name}"
    assert (process.returncode, process.stderr) == (128 + number, f"rnnexport: {word}\n")


def _workers(folders: list[Path]) -> list[str]:
    names = {str(folder) for folder in folders}
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if names & set(path.read_text().split("\0")):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_folders_of_killed_commands_are_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "rnnexport-worker-left"
    left.mkdir()
    os.utime(left, (0, 0))
    young = tmp_path / "rnnexport-worker-young"
    young.mkdir()
    process = start("bench", GRU, "-r", "ort-cpu", "--seconds", "0.01", env={**os.environ, "TMPDIR": str(tmp_path)})
    process.communicate()
    assert [path.name for path in tmp_path.glob("rnnexport-worker-*")] == [young.name]


_FORK_AFTER_LOAD = f"""
import os, sys, rnnexport, numpy as np
predictor = rnnexport.load({GRU!r}, runtime=sys.argv[1])
series = {{"a": np.ones((5, 12), np.float32)}}
predictor.predict(series)
if os.fork() == 0:
    try:
        predictor.predict(series)
    except rnnexport.errors.EngineError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("runtime", ["openvino-cpu", "ort-cpu"])
def test_a_forked_process_refuses_a_model_that_was_loaded_before(runtime: str) -> None:
    command = [sys.executable, "-c", _FORK_AFTER_LOAD, runtime]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout.startswith("a model was loaded before this process was forked")


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_no_width_loses_a_figure(columns: int, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(["show", GRU], work)
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = run(["show", GRU], work)
    assert max(map(len, narrow.out.splitlines())) <= columns
    assert "…" not in narrow.out.replace("…", "", whole.out.count("…"))
    for word in ("test_data_set_0/output_0.pb", "accuracy", "lengths", "float32"):
        assert word in narrow.out.replace("\n", "")


def test_markup_and_control_characters_are_text(work: Path) -> None:
    series = {"[bold]x[/red]": np.ones((3, 12), np.float32), "\x1b[31mred": np.ones((3, 12), np.float32)}
    np.savez(work / "work" / "s.npz", allow_pickle=False, **series)
    outcome = run(["predict", GRU, "s.npz", "-r", "ort-cpu"], work)
    assert outcome.verdict == "good", outcome
    assert "[bold]x[/red]" in outcome.out
    assert "\x1b" not in outcome.out
    assert r"\x1b[31mred" in outcome.out
    missing: Outcome = run(["show", "[bold]x[/red]\x1b[31m"], work)
    assert missing.verdict == "clear", missing
    assert "\x1b" not in missing.err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_study_that_is_ended_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    mark = {**os.environ, "RNNEXPORT_TEST": str(tmp_path)}
    arguments = ["compare", "--task", "article", "--seeds", "2", "--epochs", "200"]
    process = start(*arguments, cwd=tmp_path, env=mark, start_new_session=True)
    while not [*tmp_path.glob("checkpoints/study/*/trainer/last.ckpt")]:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, number) if number is signal.SIGINT else process.send_signal(number)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    until = time.monotonic() + 10
    while left := _marked(f"RNNEXPORT_TEST={tmp_path}"):
        assert time.monotonic() < until, left
        time.sleep(0.1)


def _marked(entry: str) -> list[str]:
    """Processes that inherited this entry of the environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if entry.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found
