"""Forks workers off a process that has imported the libraries, which saves most of what a damaged input costs.

A forked worker runs the same code in a session of its own. It is a child of the process that asked for it: the forking
process forks twice, and who asked takes in what is orphaned below it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from rnnexport.engines.openvino import import_openvino
from rnnexport.runtime import worker

_LIBRARIES = ("onnx", "onnx_ir.passes.common", "onnxruntime", "torch", "onnxscript", "scipy.special")
_OURS = (
    "parity.onnx_float64",
    "parity.oracle",
    "parity.streaming",
    "linting.loading",
    "benchmark.timing",
    "benchmark.probe",
)
_PR_SET_CHILD_SUBREAPER = 36
_LONGEST_REQUEST = 65536


@contextlib.contextmanager
def forked_workers() -> Iterator[None]:
    """Have the workers of this process forked while the block runs."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = "from tests.faults.forked_workers import serve; serve()"
    server = subprocess.Popen([sys.executable, "-c", code], stdin=theirs.fileno())
    theirs.close()
    ours.recv(1)  # it has imported everything

    class ForkedProcess:
        """What `rnnexport.runtime.worker` uses of `subprocess.Popen`."""

        def __init__(self, command: list[str], stderr: Any, **_: object) -> None:
            requests, answers = os.pipe(), os.pipe()
            self.stdin, self.stdout = os.fdopen(requests[1], "wb"), os.fdopen(answers[0], "rb")
            request = json.dumps({"argv": command[3:], "folder": str(Path.cwd()), "parent": os.getpid()})
            socket.send_fds(ours, [request.encode()], [requests[0], answers[1], stderr.fileno()])
            os.close(requests[0])
            os.close(answers[1])
            self.pid = int(ours.recv(_LONGEST_REQUEST))
            self._status: int | None = None

        def wait(self, timeout: float | None = None) -> int:
            until = None if timeout is None else time.monotonic() + timeout
            while self._status is None:
                pid, status = os.waitpid(self.pid, 0 if until is None else os.WNOHANG)
                if pid:
                    self._status = os.waitstatus_to_exitcode(status)
                elif until is not None and time.monotonic() > until:
                    raise subprocess.TimeoutExpired("worker", timeout or 0)
                else:
                    time.sleep(0.01)
            return self._status

    stand_in = SimpleNamespace(Popen=ForkedProcess, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
    try:
        with mock.patch.object(worker, "subprocess", stand_in):
            yield
    finally:
        ours.close()
        server.wait()


def serve() -> None:
    """Import the libraries, then fork a worker for each request until who asks is gone."""
    for name in (*_LIBRARIES, *(f"rnnexport.{each}" for each in _OURS)):
        importlib.import_module(name)
    import_openvino()
    asked = socket.socket(fileno=0)
    asked.send(b"1")
    while True:
        request, streams, *_ = socket.recv_fds(asked, _LONGEST_REQUEST, 3)
        if not request:
            return
        between = os.fork()
        if between == 0:
            if os.fork() == 0:
                _become_worker(asked, json.loads(request), streams)
            os._exit(0)
        os.waitpid(between, 0)
        for stream in streams:
            os.close(stream)


def _become_worker(asked: socket.socket, request: dict[str, Any], streams: list[int]) -> None:
    while os.getppid() != request["parent"]:
        time.sleep(0.001)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    asked.send(str(os.getpid()).encode())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv = request["argv"]
    worker.main()
    os._exit(0)
