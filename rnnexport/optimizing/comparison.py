"""The original against the rewritten file, in each runtime that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.engines.contract import Definition, Feeds
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
    apart = [
        _apart(before.outputs[output], after.outputs[output])
        for before, after in zip(*results, strict=True)
        for output in before.outputs
    ]
    largest, relative = (max(each) for each in zip(*apart, strict=True))
    return Difference(runtime=name, calls=len(calls), largest=largest, relative=relative)


def _apart(before: NDArray[np.generic], after: NDArray[np.generic]) -> tuple[float, float]:
    """Largest difference, absolute and relative; NaN is equal to NaN and infinitely far from anything else."""
    if before.shape != after.shape:
        return np.inf, np.inf
    a, b = before.astype(np.float64), after.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    largest = float(np.where(np.isnan(difference), np.inf, difference).max(initial=0))
    magnitude = np.abs(a[np.isfinite(a)]).max(initial=1)
    return largest, largest / float(magnitude)
