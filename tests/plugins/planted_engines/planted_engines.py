"""Engines of another package: ONNX Runtime with one fault each."""

import os
import signal
from typing import Any

import onnx

from rnnexport.engines.onnxruntime import OnnxRuntimeEngine


def attributes(node):
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


class FaultySession:
    def __init__(self, session, nodes):
        self.session, self.nodes = session, nodes
        self.inputs, self.outputs = session.inputs, session.outputs
        self.first_batch = None

    def run(self, feeds):
        return self.session.run(feeds)

    def has(self, op_type, **wanted):
        found = (attributes(node) for node in self.nodes if node.op_type == op_type)
        return any(all(each.get(name) == value for name, value in wanted.items()) for each in found)


class LyingSession(FaultySession):
    """Wrong where a GRU runs backward and applies the reset gate before the product."""

    def run(self, feeds):
        error = 0.01 if self.has("GRU", direction=b"reverse", linear_before_reset=None) else 0
        return {name: array + array.dtype.type(error) for name, array in super().run(feeds).items()}


class CrashingSession(FaultySession):
    """Ends its process where an LSTM has peepholes."""

    def run(self, feeds):
        if any(node.op_type == "LSTM" and len(node.input) == 8 for node in self.nodes):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().run(feeds)


class ForgetfulSession(FaultySession):
    """Wrong on a call with another batch than the first."""

    def run(self, feeds):
        batch = feeds["X"].shape[1]
        self.first_batch = self.first_batch or batch
        return {name: array * (batch == self.first_batch) for name, array in super().run(feeds).items()}


class FaultyEngine(OnnxRuntimeEngine):
    session: Any

    def load(self, model, definition):
        return self.session(super().load(model, definition), onnx.load(model).graph.node)


class LyingEngine(FaultyEngine):
    name, session = "lying", LyingSession


class CrashingEngine(FaultyEngine):
    name, session = "crashing", CrashingSession


class ForgetfulEngine(FaultyEngine):
    name, session = "forgetful", ForgetfulSession
