import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from rnnexport.engines.contract import Definition
from rnnexport.errors import EngineError, RuntimeUnavailableError, UnknownNameError
from rnnexport.runtime.definitions import load_definition
from rnnexport.runtime.worker import infer, run_job
from tests.graphs import Graph

PLUGINS = Path(__file__).parents[1] / "plugins" / "fake_engines"
FAKE = Definition(name="mine", engine="misbehaving", precision="float32")


@pytest.fixture(autouse=True)
def plugins(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))


def run_fake(*behaviours, load="nothing", **limits):
    """One case for each behaviour of the engine in `plugins/fake_engines.py`."""
    return list(infer(Path(f"{load}.onnx"), FAKE, [{"how": np.array(each)} for each in behaviours], **limits))


def process_of(result):
    return int(result.checked().outputs["file"])


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_stopped(pid):
    """Within a second, since a signal takes a moment."""
    deadline = time.monotonic() + 1
    while (state := Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "T":
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return state == "T"


def wait_until_gone(pid):
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


@pytest.mark.parametrize("runtime", ["ort-cpu", "openvino-cpu"])
def test_real_engine_answers_each_case(runtime, tmp_path):
    g = Graph()
    g.op("Add", "/x", "/x", outputs=["file"])
    onnx.save(g.model({"/x": ["batch", 2]}, {"file": ["batch", 2]}), tmp_path / "m.onnx")
    cases = [{"/x": np.full((batch, 2), batch, "float32")} for batch in (1, 3)]
    results = [each.checked() for each in infer(tmp_path / "m.onnx", load_definition(runtime), cases)]
    assert [each.outputs["file"].tolist() for each in results] == [[[2, 2]], [[6, 6]] * 3]
    assert results[0].extras["load_seconds"] == results[1].extras["load_seconds"] > 0
    assert results[1].extras["peak_memory_bytes"] > 2**20


def test_cases_share_one_process_that_is_not_this_one():
    processes = {process_of(result) for result in run_fake("well", "well")}
    assert len(processes) == 1
    assert os.getpid() not in processes


@pytest.mark.parametrize(
    ("behaviour", "kind", "message"),
    [
        ("crash", "crash", "on case 1 the worker ended by SIGSEGV"),
        ("last words", "crash", "on case 1 the worker ended by SIGABRT; its last words: assertion failed | abort"),
        ("exit", "crash", "on case 1 the worker ended with status 0"),
        ("raise", "error", "ValueError: no such thing (fake_engines.py:"),
        ("refuse", "error", "the library refused"),
    ],
)
def test_failure_is_one_cases_own_and_the_next_gets_a_fresh_process(behaviour, kind, message):
    before, failed, after = run_fake("well", behaviour, "well")
    assert failed.failure.kind == kind
    assert failed.failure.message.startswith(message)
    assert not failed.failure.loading
    assert process_of(before) != process_of(after)
    with pytest.raises(EngineError) as caught:
        failed.checked()
    assert str(caught.value) == failed.failure.message


def test_hanging_case_passes_the_time_limit():
    hung, after = run_fake("hang", "well", time_limit_seconds=3)
    assert (hung.failure.kind, hung.failure.message) == ("timeout", "on case 0 the worker passed the time limit of 3 s")
    assert process_of(after)


def test_process_that_dies_between_cases_fails_the_next_one():
    behaviours = ["die later", "well", "well"]
    results = infer(Path("m.onnx"), FAKE, [{"how": np.array(how)} for how in behaviours])
    assert wait_until_gone(process_of(next(results)))
    failed, after = results
    assert failed.failure.message == "on case 1 the worker ended with status 7"
    assert process_of(after)


def test_hung_process_is_gone_when_its_failure_is_told():
    results = infer(Path("m.onnx"), FAKE, [{"how": np.array("well")}, {"how": np.array("hang")}], time_limit_seconds=2)
    pid = process_of(next(results))
    assert next(results).failure.kind == "timeout"
    assert not is_running(pid)


def test_arguments_that_are_not_json_start_no_process():
    with pytest.raises(TypeError, match="not JSON serializable"):
        list(run_job("rnnexport.runtime.worker:infer_job", {"model": object()}, [{}]))


def test_greedy_case_passes_the_memory_limit():
    greedy, after = run_fake("eat memory", "well", memory_limit_bytes=300 * 2**20)
    assert greedy.failure.kind == "memory"
    assert greedy.failure.message.endswith("over the memory limit of 300 MiB")
    assert process_of(after)


def test_printing_and_reading_libraries_do_not_reach_the_protocol():
    printed, read, after = run_fake("print", "read", "well")
    assert process_of(printed) == process_of(read) == process_of(after)


@pytest.mark.parametrize(
    ("load", "error", "message"),
    [
        ("unavailable", RuntimeUnavailableError, "no such device"),
        ("unknown", UnknownNameError, "option 'x' is unknown; choose one of: y"),
        ("crash", EngineError, "while loading the worker ended by SIGSEGV"),
    ],
)
def test_failure_while_loading_is_every_cases(load, error, message):
    results = run_fake("well", "well", load=load)
    assert [result.failure.loading for result in results] == [True, True]
    with pytest.raises(error, match=f"^{message}$") as caught:
        results[1].checked()
    assert type(caught.value) is error


def test_hang_while_loading_passes_the_time_limit():
    (result,) = run_fake("well", load="hang", time_limit_seconds=1.5)
    assert result.failure.message == "while loading the worker passed the time limit of 1.5 s"


def test_unknown_engine_in_the_worker_is_the_same_error():
    definition = FAKE.model_copy(update={"engine": "misbehavin"})
    (result,) = infer(Path("m.onnx"), definition, [{}])
    with pytest.raises(UnknownNameError, match="engine 'misbehavin' is unknown; did you mean 'misbehaving'"):
        result.checked()


def test_no_case_starts_no_process():
    assert list(run_job("no.such:module", {}, [])) == []


def test_object_arrays_are_refused_not_pickled():
    (result,) = run_fake("give objects")
    assert result.failure.message.startswith("ValueError: Object arrays cannot be saved when allow_pickle=False")


def test_results_come_as_soon_as_they_are_there():
    results = infer(Path("m.onnx"), FAKE, [{"how": np.array("well")}, {"how": np.array("hang")}])
    pid = process_of(next(results))
    assert is_running(pid)
    results.close()  # type: ignore[attr-defined]
    assert not is_running(pid)


PARENT = """
import signal
import numpy as np
from pathlib import Path
from rnnexport.engines.contract import Definition
from rnnexport.runtime.worker import infer
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what runs in the background
definition = Definition(name="mine", engine="misbehaving", precision="float32")
cases = [{"how": np.array(how)} for how in ("well", "hang")]
for result in infer(Path("m.onnx"), definition, cases):
    print(result.checked().outputs["file"], flush=True)
"""


@pytest.mark.parametrize("pause", [True, False])
def test_a_process_stands_still_between_cases_where_that_is_asked_for(pause, tmp_path, monkeypatch):
    (tmp_path / "jobs.py").write_text(
        "import os\ndef job(arguments, cases):\n    for _ in cases:\n        yield {}, {'pid': os.getpid()}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    results = run_job("jobs:job", {}, [{}] * 3, pause=pause)
    pids = set()
    for result in results:
        pids.add(pid := result.checked().extras["pid"])
        assert is_stopped(pid) == pause
    assert len(pids) == 1
    assert wait_until_gone(pid)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_worker_ends_with_its_parent(end, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a killed parent cannot remove its folder
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.2)  # let the second case begin to hang
        assert is_running(pid)
        parent.send_signal(end)
    assert wait_until_gone(pid)


def test_peak_memory_does_not_count_what_the_parent_holds(tmp_path, monkeypatch):
    held = np.ones(2**26)  # 512 MiB
    (tmp_path / "jobs.py").write_text(
        "from rnnexport.runtime.worker import peak_memory_bytes\n"
        "def job(arguments, cases):\n"
        "    for feeds in cases: yield {}, {'peak': peak_memory_bytes()}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (result,) = run_job("jobs:job", {}, [{}])
    assert 2**20 < result.checked().extras["peak"] < held.nbytes // 2
