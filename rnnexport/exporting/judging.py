"""Runs a graph that was just written in each runtime that it is meant for, before anyone relies on it.

1. In ONNX Runtime it must give what the module gives, at every size and length of the calls; else nothing is written.
2. Where another runtime does not load it, fails or is wrong, the bundle says so by name.
3. Calls with large, denormal or constant inputs are left to `verify`, which judges rounding; so are those whose
   padding, drawn NaN, reaches what the module gives: there runtimes differ, and swallow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnexport.bundle.manifest import Tolerance
from rnnexport.engines.contract import Definition
from rnnexport.parity.compare import Reference, compare, size_of
from rnnexport.parity.grid import Case
from rnnexport.runtime.worker import CaseResult, infer

RIGHT = "right"
REQUIRED = "onnxruntime"
"""What a graph is written for first; it must be right there."""
ENGINES = (REQUIRED, "openvino")
LARGEST_DIFFERENCE = 1e-3
"""Relative to the output's size: far above rounding, far below what a graph of another function gives."""


@dataclass(frozen=True, slots=True)
class EngineJudgement:
    """What became of a graph in one runtime."""

    text: str
    """`right`, or one sentence about the first call that is not."""
    case: Case | None = None
    """That call."""
    is_rounding: bool = False
    """Whether the graph computes the right function, but not within the tolerance."""


def judge(
    model: Path, cases: Sequence[Case], expected: Sequence[Mapping[str, Reference]], tolerance: Tolerance
) -> dict[str, EngineJudgement]:
    """Run the calls in every engine, each in a process of its own: a wrong graph may end the process it runs in.

    The smallest call is the first: what a session prepares for one step may not do for more.
    """
    normal = (
        number
        for number, case in enumerate(cases)
        if case.values == "normal" and all(np.isfinite(output.expected).all() for output in expected[number].values())
    )
    asked = sorted(normal, key=lambda number: sum(array.size for array in cases[number].feeds.values()))
    calls, references = [cases[number] for number in asked], [expected[number] for number in asked]

    def in_engine(engine: str) -> EngineJudgement:
        definition = Definition(name=f"{engine}-cpu", engine=engine, precision="float32", threads=1)
        results = infer(model, definition, [case.feeds for case in calls])
        return _judged(zip(calls, results, references, strict=True), tolerance)

    with ThreadPoolExecutor() as threads:
        return dict(zip(ENGINES, threads.map(in_engine, ENGINES), strict=True))


def _judged(calls: Iterable[tuple[Case, CaseResult, Mapping[str, Reference]]], tolerance: Tolerance) -> EngineJudgement:
    """Judge call after call, up to the first that is not right."""
    rounding = RIGHT
    for case, result, references in calls:
        if result.failure is not None:
            how = "does not load" if result.failure.loading else f"fails at {case.name}"
            return EngineJudgement(f"{how}: {_in_one_line(result.failure.message)}", case)
        for name, reference in references.items():
            comparison = compare(name, result.outputs[name], reference, tolerance)
            if comparison.passed:
                continue
            text = f"is wrong at {case.name}: output {name!r} {comparison.reason}"
            if comparison.max_abs_diff > LARGEST_DIFFERENCE * size_of(reference.expected):
                return EngineJudgement(text, case)
            rounding = text
    return EngineJudgement(rounding, is_rounding=rounding != RIGHT)


def _in_one_line(message: str) -> str:
    """A library's message as the manifest can keep it."""
    return "".join(character for character in " ".join(message.split()) if character.isprintable())[:300]
