"""What `rnnexport tune` found."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from rnnexport.bundle.purpose import Purpose
from rnnexport.engines.contract import Definition
from rnnexport.results.result import Result

Outcome = Literal["chosen", "not chosen", "dropped", "not measured"]
"""`dropped` says that it is known to be no better; of what is `not measured`, for want of time, nothing is known."""


class Shape(BaseModel):
    """Of a call."""

    batch_size: int
    time_steps: int


class Candidate(BaseModel):
    """One way to run the model, and what became of it."""

    form: str
    definition: Definition
    lossy: bool
    """Whether it computes in less than float32."""
    bytes: int
    """Of the files that it needs."""
    times_plain: float | None = None
    """Latency of the baseline in the first runtime over this one's, side by side; of several shapes the geometric
    mean. Above 1 is faster."""
    medians_ns: list[float] = []
    """Of a call, by shape."""
    error: float | None = None
    """Largest |actual - float64 reference| on `judged_on`."""
    metric: float | None = None
    outcome: Outcome = "not chosen"
    reason: str = ""

    @property
    def alive(self) -> bool:
        """Whether it may still be chosen."""
        return self.outcome in ("chosen", "not chosen")

    @property
    def name(self) -> str:
        """Such as `scan, int8 in ort-cpu, 1 thread`."""
        return f"{self.form} in {self.definition.name}"


class TuneReport(Result):
    """What was asked for, tried and chosen."""

    schema_version: Literal[1] = 1
    bundle: str
    purpose: Purpose
    budget: str
    shapes: list[Shape]
    judged_on: str
    """Where the inputs come from on which errors are told."""
    metric: str | None = None
    """Its name."""
    reference_metric: float | None = None
    """That of the float64 reference on the same inputs."""
    time_limit_seconds: float | None = None
    candidates: list[Candidate]
    plan: str | None = None
    """The file that was written, or nothing where no candidate holds the budget."""
    machine: dict[str, str]
    versions: dict[str, str]

    def records(self) -> list[dict[str, Any]]:
        """A row for each candidate."""
        kept = ("form", "lossy", "bytes", "times_plain", "medians_ns", "error", "metric", "outcome", "reason")
        return [
            {"runtime": candidate.definition.name, **candidate.model_dump(include=set(kept))}
            for candidate in self.candidates
        ]

    @property
    def chosen(self) -> Candidate | None:
        """What the plan runs."""
        return next((c for c in self.candidates if c.outcome == "chosen"), None)

    @property
    def unmeasured(self) -> list[Candidate]:
        """Those for which the time limit left no time."""
        return [c for c in self.candidates if c.outcome == "not measured"]

    @property
    def exit_status(self) -> int:
        """0 with a plan, 1 without."""
        return 0 if self.chosen else 1
