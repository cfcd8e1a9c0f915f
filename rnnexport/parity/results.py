"""What was found: of one call, of one runtime, of a bundle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from rnnexport.bundle.manifest import Tolerance
from rnnexport.engines.contract import Definition
from rnnexport.errors import RuntimeUnavailableError
from rnnexport.parity.compare import Comparison, Reference, compare
from rnnexport.parity.diagnosis.diagnosis import Diagnosis
from rnnexport.parity.grid import values_of
from rnnexport.parity.options import GridName
from rnnexport.results.result import Result
from rnnexport.runtime.definitions import RuntimeStatus
from rnnexport.runtime.worker import CaseResult

FAULT_IN = {
    "file": "the file is wrong, not the runtime",
    "runtime": "the file is right, the runtime is wrong",
    "either": "the file cannot be evaluated in float64, so the fault is in either",
}


class CaseVerdict(BaseModel):
    """One call in one runtime."""

    number: int
    """Of the call in its runtime; `case` replays it."""
    case: str
    comparisons: list[Comparison] = []
    failure: str | None = None
    """The runtime's own words, where it gave no outputs."""
    failure_kind: Literal["error", "crash", "timeout", "memory"] | None = None

    @property
    def passed(self) -> bool:
        """True where every output is right."""
        return self.failure is None and all(comparison.passed for comparison in self.comparisons)


class RuntimeParity(BaseModel):
    """All calls in one runtime."""

    definition: Definition
    tolerance: Tolerance
    cases: list[CaseVerdict]
    metric: float | None = None
    metric_agrees: bool = True
    diagnosis: Diagnosis | None = None
    """What explains the wrong answers, where there are any."""
    non_finite: dict[str, str] = {}
    """What becomes of `NaN` and `Inf` in one row: a property, no fault; see `non_finite`."""
    not_applicable: str | None = None
    """Why there was nothing to run, where that is so."""

    @property
    def passed(self) -> bool:
        """True where every call and the metric are right."""
        return self.metric_agrees and all(case.passed for case in self.cases)

    @property
    def why_wrong(self) -> str:
        """The first call that is wrong, in which the fault is, and what explains it; empty where all are right."""
        said = []
        for case in [case for case in self.cases if not case.passed][:1]:
            first = next((each for each in case.comparisons if not each.passed), None)
            said.append(f"{case.case}: {case.failure if first is None else f'output {first.output!r} {first.reason}'}")
        if not self.metric_agrees:
            said.append("the task's metric is not the reference's")
        if self.diagnosis is not None:
            said.append(FAULT_IN[self.diagnosis.fault_in])
            said += [f"cause: {cause.name}: {cause.says}" for cause in self.diagnosis.causes]
        return "; ".join(said)

    def worst(self, output: str) -> tuple[str, Comparison] | None:
        """Return the call and comparison of the largest error: of failed ones, else of calls that are no stress."""
        found = [(case.case, c) for case in self.cases for c in case.comparisons if c.output == output]
        return max(found, key=_weight, default=None)


def _weight(pair: tuple[str, Comparison]) -> tuple[bool, bool, float]:
    name, comparison = pair
    return not comparison.passed, values_of(name) == "normal", comparison.max_abs_diff


class ParityReport(Result):
    """What `rnnexport verify` found out about one bundle."""

    schema_version: Literal[2] = 2
    bundle: str
    seed: int
    grid: GridName
    outputs: list[str]
    reference: str | None = None
    """What the reference of an ONNX file was held against, in a sentence."""
    inputs: str | None = None
    """Where their values come from, and how many calls are stress."""
    metric: str | None = None
    reference_metric: float | None = None
    runtimes: list[RuntimeParity]
    not_usable: list[RuntimeStatus]
    versions: dict[str, str]
    machine: dict[str, str]
    raw_outputs: str | None = None
    """The SHA-256 of the npz beside `parity.json` that holds what was expected and what came."""

    def records(self) -> list[dict[str, Any]]:
        """A row for each runtime and output."""
        return [
            {
                "bundle": self.bundle,
                "runtime": runtime.definition.name,
                "output": output,
                "calls": len(runtime.cases),
                "largest_error": worst[1].max_abs_diff if worst else None,
                "times_float32_error": worst[1].times_float32_error if worst else None,
                "worst_call": worst[0] if worst else None,
                "metric": runtime.metric,
                "passed": None if runtime.not_applicable else runtime.passed,
            }
            for runtime in self.runtimes
            for output in self.outputs
            for worst in [runtime.worst(output)]
        ]

    @property
    def passed(self) -> bool:
        """True where every runtime passed."""
        return all(runtime.passed for runtime in self.runtimes)

    @property
    def exit_status(self) -> int:
        """0: all passed; 1: one failed; 3: one that was named is not usable here."""
        if not self.passed:
            return 1
        return RuntimeUnavailableError.exit_status if self.not_usable else 0


def judge_case(
    number: int,
    name: str,
    result: CaseResult,
    reference: Mapping[str, Reference],
    tolerance: Tolerance,
    *,
    unjudged: Collection[str] = (),
) -> CaseVerdict:
    """Judge what one call gave; it must be the outputs of `reference`, besides those that are `unjudged`."""
    if result.failure is not None:
        failure = result.failure
        return CaseVerdict(number=number, case=name, failure=failure.message, failure_kind=failure.kind)
    missing = sorted(set(reference) - set(result.outputs))
    if missing:
        return CaseVerdict(number=number, case=name, failure=f"gave no output {missing[0]!r}", failure_kind="error")
    if extra := sorted(set(result.outputs) - {*reference, *unjudged}):
        words = f"gave an output {extra[0]!r}, which the graph does not have"
        return CaseVerdict(number=number, case=name, failure=words, failure_kind="error")
    comparisons = [compare(output, result.outputs[output], ref, tolerance) for output, ref in reference.items()]
    return CaseVerdict(number=number, case=name, comparisons=comparisons)
