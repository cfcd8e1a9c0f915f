"""An engine of another package: ONNX Runtime, which does what the name of its runtime says after some good calls."""

import os
import signal
import time

import numpy as np

from rnnexport.engines.onnxruntime import OnnxRuntimeEngine

GOOD_CALLS = 50


class FaultySession:
    def __init__(self, session, how):
        self.inputs, self.outputs, self.close = session.inputs, session.outputs, session.close
        self.good, self.how, self.calls, self.held = session, how, 0, []

    def run(self, feeds):
        return self.bind(feeds)()

    def bind(self, feeds):
        call = self.good.bind(feeds)

        def faulty():
            self.calls += 1
            return self.behave(call()) if self.calls > GOOD_CALLS else call()

        return faulty

    def behave(self, outputs):
        match self.how:
            case "dies":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hangs":
                time.sleep(3600)
            case "eats-memory":
                while True:
                    self.held.append(np.ones(2**20))
                    time.sleep(0.001)
            case "drifts":
                return {name: array + 0.01 for name, array in outputs.items()}
        return outputs


class FaultyEngine(OnnxRuntimeEngine):
    name = "faulty"

    def load(self, model, definition):
        return FaultySession(super().load(model, definition), definition.name)
