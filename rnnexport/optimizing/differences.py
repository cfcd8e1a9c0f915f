"""The rewritten file in each runtime against the original.

1. What is right is what the original gives in ONNX Runtime, or, where it does not run there, in float64.
2. The original is held against it in each runtime, too: one that is wrong there says nothing against the copy.
3. A call that the original does not take, or to which it answers nothing, is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import RnnexportError
from rnnexport.parity.compare import largest_difference, size_of
from rnnexport.runtime.worker import CaseResult, infer

RUNTIMES = {
    "ONNX Runtime": Definition(name="ort-cpu", engine="onnxruntime", precision="float32", threads=1),
    "OpenVINO": Definition(name="openvino-cpu", engine="openvino", precision="float32", threads=1),
}


class Difference(BaseModel):
    """How far the rewritten file is from the original in one runtime."""

    runtime: str
    calls: int
    """Those that the original takes."""
    largest: float | None = None
    """Largest |a - b| of any output; `None` where one of the files does not run."""
    relative: float | None = None
    """The same, divided by the largest magnitude of that output in that call, or 1 where that is less."""
    original: float | None = None
    """The same of the original itself in this runtime; `None` where it does not run there."""
    failure: str | None = None
    """Why a file does not run."""


def compare(original: Path, rewritten: Path, calls: Sequence[Feeds]) -> list[Difference]:
    """Run both files on the same calls in every runtime, each in a process of its own."""
    before = {name: [*infer(original, runtime, calls)] for name, runtime in RUNTIMES.items()}
    in_ort = before["ONNX Runtime"]
    answers = [_unless_empty(result.outputs) for result in in_ort]
    if not any(answers):
        answers = _in_float64(original, calls)
    if not any(answers):
        return [Difference(runtime=name, calls=0, failure=_nothing_given(given)) for name, given in before.items()]
    return [_compare(name, rewritten, calls, before[name], answers) for name in RUNTIMES]


def _nothing_given(results: Sequence[CaseResult]) -> str:
    failures = (f"the original does not run: {result.failure.message}" for result in results if result.failure)
    return next(failures, "the original gives empty outputs")


def _in_float64(path: Path, calls: Sequence[Feeds]) -> list[Feeds | None]:
    """What a file gives; nothing for a call that it does not take, or where there is no reference."""
    from rnnexport.parity.onnx_float64 import Float64Model

    answers: list[Feeds | None] = [None] * len(calls)
    with contextlib.suppress(RnnexportError):
        model = Float64Model(path)
        for number, feeds in enumerate(calls):
            with contextlib.suppress(RnnexportError):
                answers[number] = _unless_empty(model.run(feeds))
    return answers


def _unless_empty(outputs: Feeds) -> Feeds | None:
    return outputs if any(array.size for array in outputs.values()) else None


def _compare(
    name: str,
    rewritten: Path,
    calls: Sequence[Feeds],
    before: Sequence[CaseResult],
    answers: Sequence[Feeds | None],
) -> Difference:
    runs = any(result.failure is None for result in before)
    taken = [n for n, right in enumerate(answers) if right is not None and (before[n].failure is None or not runs)]
    after = [*infer(rewritten, RUNTIMES[name], [calls[number] for number in taken])]
    expected = [answers[number] or {} for number in taken]
    original = _largest([before[number] for number in taken], expected)[1] if runs else None
    failures = [result.failure.message for result in after if result.failure is not None]
    if failures:
        failure = f"the rewritten file does not run: {failures[0]}"
        return Difference(runtime=name, calls=len(taken), original=original, failure=failure)
    largest, relative = _largest(after, expected)
    return Difference(runtime=name, calls=len(taken), largest=largest, relative=relative, original=original)


def _largest(results: Sequence[CaseResult], expected: Sequence[Feeds]) -> tuple[float, float]:
    """The largest difference of any output, absolute and relative."""
    calls = zip(results, expected, strict=True)
    pairs = [(result.outputs[name], right) for result, call in calls for name, right in call.items()]
    apart = [largest_difference(actual, right) for actual, right in pairs]
    relative = [error / size_of(right) for error, (_, right) in zip(apart, pairs, strict=True)]
    return max(apart, default=0.0), max(relative, default=0.0)
