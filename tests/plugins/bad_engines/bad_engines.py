"""Engines that break the contract when they are asked whether they work."""

import os
import signal
import sys

from rnnexport.engines.onnxruntime import OnnxRuntimeEngine


class RaisesWhenAsked(OnnxRuntimeEngine):
    def available(self, definition):
        raise RuntimeError("no licence")


class ExitsWhenAsked(OnnxRuntimeEngine):
    def available(self, definition):
        sys.exit(0)


class KillsWhenAsked(OnnxRuntimeEngine):
    def available(self, definition):
        os.kill(os.getpid(), signal.SIGKILL)
