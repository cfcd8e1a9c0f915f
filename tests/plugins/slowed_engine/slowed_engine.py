"""An engine of another package: ONNX Runtime, every call of which takes a tenth longer."""

import time

from rnnexport.engines.onnxruntime import OnnxRuntimeEngine

SHARE = 0.10


class SlowedSession:
    def __init__(self, session):
        self.inputs, self.outputs = session.inputs, session.outputs
        self.run, self.close = session.run, session.close
        self.bind_plain = session.bind

    def bind(self, feeds):
        call = self.bind_plain(feeds)

        def slowed():
            before = time.perf_counter()
            outputs = call()
            after = time.perf_counter()
            until = after + SHARE * (after - before)
            while time.perf_counter() < until:
                pass
            return outputs

        return slowed


class SlowedEngine(OnnxRuntimeEngine):
    name = "slowed"

    def load(self, model, definition):
        return SlowedSession(super().load(model, definition))
