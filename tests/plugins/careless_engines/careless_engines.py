"""Engines of another package: real runtimes, used as people use them without care, or dying in the middle."""

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # noqa: TID251 - as people use it who do not use ours

from rnnexport.engines.contract import TensorSpec
from rnnexport.engines.onnxruntime import OnnxRuntimeEngine


class OpenVinoAsItComes:
    """No precision said, so OpenVINO chooses."""

    def __init__(self, model):
        compiled = openvino.Core().compile_model(model, "CPU")
        self.request = compiled.create_infer_request()
        self.names = [port.any_name for port in compiled.outputs]
        self.inputs = tuple(TensorSpec(p.any_name, np.dtype(p.element_type.to_dtype()), ()) for p in compiled.inputs)
        self.outputs = ()

    def run(self, feeds):
        results = self.request.infer(dict(feeds))
        return {name: np.array(results[name]) for name in self.names}

    def close(self):
        pass


class DefaultPrecisionEngine(OnnxRuntimeEngine):
    name = "default-precision"

    def load(self, model, definition):
        return OpenVinoAsItComes(str(model))


class CompressedEngine(OnnxRuntimeEngine):
    """`openvino.save_model` compresses to float16 unless told not to."""

    name = "compressed"

    def load(self, model, definition):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.xml"
            openvino.save_model(openvino.convert_model(str(model)), path)
            read = openvino.Core().read_model(path)
        session = OpenVinoAsItComes(read)
        compiled = openvino.Core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        session.request = compiled.create_infer_request()
        return session


class Wrapped:
    def __init__(self, session):
        self.session, self.calls = session, 0
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, feeds):
        self.calls += 1
        return self.session.run(feeds)

    def close(self):
        self.session.close()


class Stale(Wrapped):
    """From its third call on it answers as much of the second call's answer as it needs."""

    kept: Any = None

    def run(self, feeds):
        outputs = super().run(feeds)
        stale = self.kept is not None and all(outputs[n].size <= self.kept[n].size for n in outputs)
        if stale:
            return {n: self.kept[n].ravel()[: a.size].reshape(a.shape) for n, a in outputs.items()}
        self.kept = outputs
        return outputs


class Dying(Wrapped):
    def run(self, feeds):
        if self.calls == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().run(feeds)


class Hanging(Wrapped):
    def run(self, feeds):
        if self.calls == 2:
            time.sleep(3600)
        return super().run(feeds)


class Hungry(Wrapped):
    def run(self, feeds):
        held = []
        while self.calls == 2:
            held.append(np.ones(2**20))
            time.sleep(0.002)
        return super().run(feeds)


class WrappingEngine(OnnxRuntimeEngine):
    session: Any

    def load(self, model, definition):
        return self.session(super().load(model, definition))


class StaleEngine(WrappingEngine):
    name, session = "stale", Stale


class DyingEngine(WrappingEngine):
    name, session = "dying", Dying


class HangingEngine(WrappingEngine):
    name, session = "hanging", Hanging


class HungryEngine(WrappingEngine):
    name, session = "hungry", Hungry


class Off(Wrapped):
    """Errs in one element, by the part of the output's size that the runtime's name says: `off by 0.001`."""

    part = 0.0

    def run(self, feeds):
        outputs = super().run(feeds)
        for array in outputs.values():
            if array.dtype.kind == "f" and array.size:
                array.flat[array.size // 2] += self.part * np.abs(array).max()
        return outputs


class OffEngine(WrappingEngine):
    name, session = "off", Off

    def load(self, model, definition):
        session = super().load(model, definition)
        session.part = float(definition.name.removeprefix("off by "))
        return session


class Spoilt(Wrapped):
    """Once its first call had one row and one step, later ones are wrong."""

    spoilt = False

    def run(self, feeds):
        self.spoilt = self.spoilt or (self.calls == 0 and next(iter(feeds.values())).shape[:2] == (1, 1))
        outputs = super().run(feeds)
        first = self.calls == 1
        return {name: array if first or not self.spoilt else array + 1 for name, array in outputs.items()}


class SpoiltEngine(WrappingEngine):
    name, session = "spoilt", Spoilt


class Chatty(Wrapped):
    """Gives more than the graph has."""

    def run(self, feeds):
        return {**super().run(feeds), "more": np.zeros(1, np.float32)}


class ChattyEngine(WrappingEngine):
    name, session = "chatty", Chatty
