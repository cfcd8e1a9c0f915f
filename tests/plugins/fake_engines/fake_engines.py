"""An engine of another package, which does to its process what its model's name or its feeds say."""

import os
import signal
import sys
import threading
import time

import numpy as np

from rnnexport.engines.contract import Availability
from rnnexport.errors import EngineError, RuntimeUnavailableError, UnknownNameError


def behave(how):
    match how:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "last words":
            os.write(2, b"first line\nassertion failed\nabort\n")
            os.abort()
        case "exit":
            os._exit(0)
        case "die later":
            threading.Timer(0.05, os._exit, [7]).start()
        case "hang":
            time.sleep(3600)
        case "eat memory":
            held = []
            while True:
                held.append(np.ones(2**20))
                time.sleep(0.002)
        case "print":
            print('{"error": "printed", "class": "EngineError"}', flush=True)
            os.write(1, b"noise\n")
        case "read":
            assert sys.stdin.read() == ""
        case "raise":
            raise ValueError("no such thing")
        case "refuse":
            raise EngineError("the library refused")
        case "unknown":
            raise UnknownNameError("option", "x", ["y"])
        case "unavailable":
            raise RuntimeUnavailableError("no such device")


class MisbehavingSession:
    inputs = outputs = ()

    def run(self, feeds):
        behave(str(feeds["how"]))
        if feeds["how"] == "give objects":
            return {"objects": np.array([object()])}
        return {"/how:0": feeds["how"], "file": np.array(os.getpid())}


class MisbehavingEngine:
    name = "misbehaving"

    def available(self, definition):
        return Availability(definition.device == "cpu", "1.0", reason="it is Sunday", remedy="wait")

    def check_options(self, definition):
        if definition.options:
            raise UnknownNameError("option", next(iter(definition.options)), ["none"])

    def load(self, model, definition):
        behave(model.stem)
        return MisbehavingSession()
