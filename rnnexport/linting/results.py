"""What `rnnexport lint` says of a file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from rnnexport.linting.rule import Severity
from rnnexport.results.result import Result

LARGEST_ERROR = 1e-4
"""Of a repaired file, relative to the output's size: far above float32's rounding, far below what a fault does."""


class Proof(BaseModel):
    """What both files give in one runtime."""

    runtime: str
    calls: int
    before: float | None
    """Largest error of the original, relative to the output's size; `None` where it does not run."""
    after: float | None
    """The same of the repaired file."""

    @property
    def passed(self) -> bool:
        """Whether the repaired file is right."""
        return self.after is not None and self.after <= LARGEST_ERROR

    def __str__(self) -> str:
        """For a sentence."""
        error = "does not run" if self.after is None else f"differs by {self.after:.2g}"
        return f"in {self.runtime} the repaired file {error}"


class Finding(BaseModel):
    """One thing that is wrong or risky."""

    rule: str
    severity: Severity
    title: str
    where: str
    """The node or value."""
    what: str
    consequences: dict[str, str]
    """By runtime."""
    repairable: bool


class LintReport(Result):
    """What `rnnexport lint` found in one file."""

    schema_version: Literal[1] = 1
    path: str
    findings: list[Finding]
    rules: int = 0
    """How many were applied."""
    layers: int = 0
    """Recurrent operators and decomposed cells that were recognised, which most rules are about."""
    unknown_operators: list[str] = Field(default_factory=list)
    """Those of other domains than ONNX's and ONNX Runtime's, which no rule looks into."""
    keras_exporter: str | None = None
    """What wrote the file from a Keras model, where the file tells."""
    repaired: str | None = None
    """The file that was written."""
    proof: list[Proof] = Field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        """A row for each finding."""
        return [finding.model_dump() for finding in self.findings]

    @property
    def exit_status(self) -> int:
        """1 where something is wrong or may be; notes do not count, nor does what was repaired."""
        left = [f for f in self.findings if f.severity != "note" and not (self.repaired and f.repairable)]
        return 1 if left else 0
