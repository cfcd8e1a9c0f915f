"""The original against the rewritten file, in each runtime that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from rnnexport.engines.contract import Definition, Feeds
from rnnexport.parity.compare import largest_difference, size_of
from rnnexport.runtime.worker import infer

RUNTIMES = {
    "ONNX Runtime": Definition(name="ort-cpu", engine="onnxruntime", precision="float32", threads=1),
    "OpenVINO": Definition(name="openvino-cpu", engine="openvino", precision="float32", threads=1),
}


class Difference(BaseModel):
    """How far two files are apart in one runtime."""

    runtime: str
    calls: int
    largest: float | None = None
    """Largest |a - b| of any output; `None` where one of the files does not run."""
    relative: float | None = None
    """The same, divided by the largest magnitude of that output in that call, or 1 where that is less."""
    failure: str | None = None
    """Why a file does not run."""


def compare(original: Path, rewritten: Path, calls: Sequence[Feeds]) -> list[Difference]:
    """Run both files on the same calls in every runtime, each in a process of its own."""
    return [_compare(name, original, rewritten, calls) for name in RUNTIMES]


def _compare(name: str, original: Path, rewritten: Path, calls: Sequence[Feeds]) -> Difference:
    results = [[*infer(path, RUNTIMES[name], calls)] for path in (original, rewritten)]
    for which, given in zip(("original", "rewritten file"), results, strict=True):
        failures = [result.failure.message for result in given if result.failure is not None]
        if failures:
            return Difference(runtime=name, calls=len(calls), failure=f"the {which} does not run: {failures[0]}")
    pairs = [(b.outputs[output], a.outputs[output]) for b, a in zip(*results, strict=True) for output in b.outputs]
    largest = [largest_difference(after, before) for before, after in pairs]
    relative = [apart / size_of(before) for apart, (before, _) in zip(largest, pairs, strict=True)]
    return Difference(runtime=name, calls=len(calls), largest=max(largest), relative=max(relative))
