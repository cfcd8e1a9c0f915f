"""What a conformance run says."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from rnnexport.conformance.judging import Kind
from rnnexport.engines.contract import Definition
from rnnexport.results.result import Result
from rnnexport.runtime.definitions import RuntimeStatus


class Disagreement(BaseModel):
    """A cause of examples that are not right."""

    kind: Kind
    cause: str
    """The features that it needs, such as `LSTM · P given`."""
    message: str
    """What came of the minimal example: the largest difference, the runtime's refusal, or how its process ended."""
    drawn: int
    """How many of the drawn examples it explains."""
    example: dict[str, Any]
    """The minimal example: what differs from the simplest graph and call."""
    reproduced: bool | None = None
    """Whether a fresh process did the same; none was asked about what is refused."""
    folder: str | None = None
    """Where the minimal test case is, below the folder that was asked for."""


class FeatureRow(BaseModel):
    """What became of the examples that have one feature."""

    feature: str
    shapes: str
    """`static` or `dynamic`: whether all dimensions of the graph's inputs were fixed."""
    counts: dict[Kind, int]
    """Of those examples that were right, or not right because of this feature; others say nothing about it."""


class RuntimeConformance(BaseModel):
    """What one runtime made of all examples."""

    definition: Definition
    version: str | None
    counts: dict[Kind, int]
    features: list[FeatureRow]
    findings: list[Disagreement]
    """Crashes first, then what is wrong, then what is refused."""


class ConformanceReport(Result):
    """What every runtime made of the same examples."""

    examples: int
    seed: int
    versions: dict[str, str]
    runtimes: list[RuntimeConformance]
    not_usable: list[RuntimeStatus]

    def records(self) -> list[dict[str, Any]]:
        """A row for each runtime and finding."""
        return [
            {"runtime": runtime.definition.name, **finding.model_dump(exclude={"example"})}
            for runtime in self.runtimes
            for finding in runtime.findings
        ]

    @property
    def exit_status(self) -> int:
        """1 where a runtime is wrong without a word or crashes; refusing is no fault."""
        if any(finding.kind in ("wrong", "crash") for runtime in self.runtimes for finding in runtime.findings):
            return 1
        return 3 if self.not_usable else 0
