"""Jobs in a process of their own.

1. A job is a generator function, `job(arguments, cases)` → outputs and extras for each case, named `module:function`
   by our own code. What it does before it asks for the first case is loading. Each result is handed over at once.
2. Requests and answers are JSON lines, arrays are npz files in a temporary folder; nothing is pickled.
3. Whatever happens to the process (error, crash, hang, too much memory) is the failure of one case; the next case gets
   a fresh process, so that nothing half-broken answers it. What fails while loading fails for all remaining cases.
4. What libraries print to standard output cannot garble the answers: the worker moves that stream out of their reach.
5. The worker dies with its parent, and with the iterator that reads its results.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from rnnexport import errors
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import EngineError, RnnexportError

Arrays = dict[str, NDArray[Any]]
Extras = dict[str, Any]
Job = Callable[[dict[str, Any], Iterator[Feeds]], Iterator[tuple[Arrays, Extras]]]

_PREFIX = "rnnexport-worker-"
_YOUNG_SECONDS = 60
_POLL_SECONDS = 0.02
_LAST_WORDS = 2  # lines of standard error worth quoting


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a case has no result."""

    kind: Literal["error", "crash", "timeout", "memory"]
    """`error`: the job raised; `crash`: the process ended by itself; otherwise a limit was passed."""
    message: str
    """One line for people."""
    error_class: str = "EngineError"
    """The class in `rnnexport.errors` that was raised, or stands for what happened."""
    loading: bool = False
    """Whether it happened before the first case began."""

    def error(self) -> RnnexportError:
        """The exception to raise in this process."""
        chosen: type[RnnexportError] = getattr(errors, self.error_class, EngineError)
        return chosen.__new__(chosen, self.message)  # past __init__, which may want the parts of the message


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case."""

    outputs: Arrays = field(default_factory=dict)
    extras: Extras = field(default_factory=dict)
    """What else the job reports; must be JSON-able."""
    failure: Failure | None = None

    def checked(self) -> Self:
        """This result, or the failure raised.

        Raises:
            RnnexportError: Of the class that was raised in the worker; `EngineError` for crashes and limits.
        """
        if self.failure:
            raise self.failure.error()
        return self


def infer(
    model: Path,
    definition: Definition,
    cases: Sequence[Feeds],
    *,
    time_limit_seconds: float = 600,
    memory_limit_bytes: int | None = None,
) -> Iterator[CaseResult]:
    """Run a model file on each case's feeds, in order, on one session of a process of its own.

    A case that fails gives a result with `failure`, and the next one a new process and session; see `run_job`.
    """
    arguments = {"model": str(model), "definition": definition.model_dump()}
    yield from run_job(
        "rnnexport.runtime.worker:infer_job",
        arguments,
        cases,
        time_limit_seconds=time_limit_seconds,
        memory_limit_bytes=memory_limit_bytes,
    )


def infer_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """The job behind `infer`; the extras are `load_seconds` and the process's `peak_memory_bytes` so far."""
    start = time.perf_counter()
    definition = Definition(**arguments["definition"])
    session = get_engine(definition.engine).load(Path(arguments["model"]), definition)
    load_seconds = time.perf_counter() - start
    for feeds in cases:
        outputs = by_name(session.run(feeds))
        yield outputs, {"load_seconds": load_seconds, "peak_memory_bytes": peak_memory_bytes()}


def by_name(outputs: object) -> Arrays:
    """Return what a session gave, which for a plug-in may be anything.

    Raises:
        EngineError: It is no mapping of names to arrays.
    """
    if not isinstance(outputs, Mapping):
        raise EngineError(f"the engine returned a {type(outputs).__name__}, no arrays by name")
    return {str(name): np.asarray(array) for name, array in outputs.items()}


def run_job(
    function: str,
    arguments: Mapping[str, Any],
    cases: Sequence[Feeds],
    *,
    time_limit_seconds: float = 600,
    memory_limit_bytes: int | None = None,
    pause: bool = False,
) -> Iterator[CaseResult]:
    """Run the job `function` (`module:function`) with JSON-able `arguments`; one result for each case, in order.

    The time limit holds for loading and for each case; the memory limit for the resident memory of the process. With
    `pause`, the process stands still between cases, so that threads which wait actively take nothing from others.
    Starts processes and writes to a temporary folder; both are gone when the iterator is exhausted or closed.
    """
    worker: _Worker | None = None
    try:
        for number, feeds in enumerate(cases):
            if worker is None:
                _remove_left_folders()
                worker = _Worker(function, arguments, time_limit_seconds, memory_limit_bytes)
            worker.signal(signal.SIGCONT)
            result = worker.run(number, feeds)
            if pause:
                worker.signal(signal.SIGSTOP)
            if result.failure:
                worker.close()
                worker = None
            yield result
            if result.failure and result.failure.loading:
                yield from (CaseResult(failure=result.failure) for _ in cases[number + 1 :])
                return
    finally:
        if worker:
            worker.close()


class _FailedError(Exception):
    """Carries a failure to where the case ends."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class _Worker:
    """The parent's side of one process."""

    def __init__(
        self, function: str, arguments: Mapping[str, Any], time_limit: float, memory_limit: int | None
    ) -> None:
        request = json.dumps({"function": function, "arguments": dict(arguments), "parent": os.getpid()})
        self._time_limit, self._memory_limit = time_limit, memory_limit
        self._loaded = False
        self._buffer = b""
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX)
        self._lock = _lock_folder(self._folder.name)
        self._path = Path(self._folder.name)
        with (self._path / "stderr.txt").open("wb") as stderr:
            self._process = subprocess.Popen(
                # -P keeps a torch.py of the user's folder from being taken for PyTorch
                [sys.executable, "-P", "-m", "rnnexport.runtime.worker", self._folder.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # a group of its own, to be killed whole; Ctrl-C reaches only the parent
            )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._send(request)

    def run(self, number: int, feeds: Feeds) -> CaseResult:
        """Run one case, after loading if that is still to come."""
        try:
            if not self._loaded:
                self._answer("while loading", loading=True)
                self._loaded = True
            self._send(json.dumps({"names": _write_arrays(self._path / "case.npz", feeds)}))
            answer = self._answer(f"on case {number}", loading=False)
            return CaseResult(_read_arrays(self._path / "result.npz", answer["names"]), answer["extras"])
        except _FailedError as exc:
            return CaseResult(failure=exc.failure)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def close(self) -> None:
        """Kill the process and whatever it started, and remove its folder."""
        started = _descendants(self._process.pid)  # some may have sessions of their own
        self.signal(signal.SIGKILL)
        for pid in started:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._answers.close()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()  # tries to send what the process did not live to read
        self._folder.cleanup()
        os.close(self._lock)

    def _send(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the process is gone; waiting for its answer finds out why
            self._requests.write(line.encode() + b"\n")
            self._requests.flush()

    def _answer(self, where: str, *, loading: bool) -> dict[str, Any]:
        """Wait for the next answer, with an eye on the clock and on the memory.

        Raises:
            _FailedError: There is none, or it says that the job raised.
        """
        deadline = time.monotonic() + self._time_limit
        while b"\n" not in self._buffer:
            if not self._read_some():
                raise _FailedError(Failure("crash", f"{where} {self._end()}", loading=loading))
            if time.monotonic() > deadline:
                limit = f"passed the time limit of {self._time_limit:g} s"
                raise _FailedError(Failure("timeout", f"{where} the worker {limit}", loading=loading))
            if self._memory_limit and (memory := _resident_bytes(self._process.pid)) > self._memory_limit:
                limit = f"took {memory >> 20} MiB, over the memory limit of {self._memory_limit >> 20} MiB"
                raise _FailedError(Failure("memory", f"{where} the worker {limit}", loading=loading))
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise _FailedError(Failure("error", answer["error"], answer["class"], loading=loading))
        return answer

    def _read_some(self) -> bool:
        """Wait a moment for bytes; false at the end of the stream."""
        if not select.select([self._answers], [], [], _POLL_SECONDS)[0]:
            return True
        received = os.read(self._answers.fileno(), 65536)
        self._buffer += received
        return bool(received)

    def _end(self) -> str:
        """How the process ended, and the last it had to say."""
        try:
            status = self._process.wait(timeout=self._time_limit)
        except subprocess.TimeoutExpired:
            return "the worker closed its answers"
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        written = (self._path / "stderr.txt").read_text(errors="replace").strip().splitlines()
        words = " | ".join(written[-_LAST_WORDS:])
        return f"the worker {how}" + (f"; its last words: {words}" if words else "")


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Write arrays by position, since their names may be any string, and return the names."""
    np.savez(path, *arrays.values(), allow_pickle=False)
    return list(arrays)


def _read_arrays(path: Path, names: Sequence[str]) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[f"arr_{i}"] for i, name in enumerate(names)}


def _descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _lock_folder(folder: str) -> int:
    """Hold a folder for as long as this process lives."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


@cache
def _remove_left_folders() -> None:
    """Remove the folders of processes that were killed before they could, once per process."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # of another user, or held by its living process
            if time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:
                continue  # perhaps not yet held
            descriptor = _lock_folder(str(folder))
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0  # it has just ended


def peak_memory_bytes() -> int:
    """The most memory this process held at once; `ru_maxrss` would count what the parent held when it started us."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent ended first; nobody would read why


def _failed(exc: Exception) -> dict[str, str]:
    if isinstance(exc, RnnexportError):
        return {"error": str(exc), "class": type(exc).__name__}
    place = traceback.extract_tb(exc.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return {"error": f"{type(exc).__name__}: {exc} ({where})", "class": EngineError.__name__}


def _serve(requests: IO[str], answers: IO[str], folder: Path) -> None:
    """The process's side: load, then answer one case after another until the parent closes the stream."""

    def answer(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def cases() -> Iterator[Feeds]:
        answer({"loaded": True})
        for line in requests:
            yield _read_arrays(folder / "case.npz", json.loads(line)["names"])

    request = json.loads(requests.readline())
    die_with(request["parent"])
    module, _, function = request["function"].partition(":")
    try:
        job: Job = getattr(importlib.import_module(module), function)
        for outputs, extras in job(request["arguments"], cases()):
            answer({"names": _write_arrays(folder / "result.npz", outputs), "extras": extras})
    except Exception as exc:
        answer(_failed(exc))


def main() -> None:
    """Keep the streams of the protocol to ourselves: libraries read nothing and print to standard error."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    _serve(requests, answers, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
