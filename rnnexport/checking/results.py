"""What a check found: outcomes of steps, by model, and the verdict on all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, computed_field

from rnnexport.benchmark.results import BenchReport
from rnnexport.checking.configuration import Step
from rnnexport.errors import RuntimeUnavailableError
from rnnexport.linting.results import LintReport
from rnnexport.parity.results import ParityReport

OutcomeKind = Literal["passed", "failed", "unavailable", "not judged"]
"""`unavailable`: a runtime that was named does not work here; `not judged`: the message says why nobody can tell."""


class StepOutcome(BaseModel):
    """What one step says of one thing."""

    step: Step
    subject: str
    """What was judged: a runtime, a rule of lint, a limit."""
    kind: OutcomeKind
    message: str
    """One sentence."""


class CheckedModel(BaseModel):
    """One model."""

    name: str
    source: str
    bundle: str | None = None
    """The folder, where the source is one or could be exported."""
    outcomes: list[StepOutcome] = []
    lint: list[LintReport] = []
    parity: ParityReport | None = None
    bench: BenchReport | None = None

    def add(self, step: Step, subject: str, kind: OutcomeKind, message: str) -> None:
        """Take note of an outcome."""
        self.outcomes.append(StepOutcome(step=step, subject=subject, kind=kind, message=message))

    def of_kind(self, kind: OutcomeKind) -> list[StepOutcome]:
        """Return the outcomes of one kind."""
        return [outcome for outcome in self.outcomes if outcome.kind == kind]


class CheckReport(BaseModel):
    """What `rnnexport check` found."""

    schema_version: Literal[1] = 1
    models: list[CheckedModel]
    baseline: str
    """The folder that holds the baseline."""
    baseline_written: bool = False
    """Whether that is what the check was asked for."""
    seconds: float
    versions: dict[str, str]
    machine: dict[str, str]

    @property
    def failed(self) -> list[tuple[CheckedModel, StepOutcome]]:
        """What makes the verdict bad."""
        return list(self._of_kind("failed"))

    @property
    def unavailable(self) -> list[tuple[CheckedModel, StepOutcome]]:
        """Runtimes that were named and do not work here."""
        return list(self._of_kind("unavailable"))

    def _of_kind(self, kind: OutcomeKind) -> Iterator[tuple[CheckedModel, StepOutcome]]:
        return ((model, outcome) for model in self.models for outcome in model.of_kind(kind))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> str:
        """All of it in one sentence."""
        count = len(self.models)
        models = f"{count} {'model' if count == 1 else 'models'}"
        if not self.failed:
            rest = "; runtimes that were named do not work here" if self.unavailable else ""
            return f"passed: {models}{rest}"
        wrong = {model.name: [o.step for o in model.of_kind("failed")] for model in self.models}
        said = [f"{name} ({', '.join(dict.fromkeys(steps))})" for name, steps in wrong.items() if steps]
        return f"failed: {len(said)} of {models}: {', '.join(said)}"

    @property
    def exit_status(self) -> int:
        """0: all passed; 1: something failed; 3: a runtime that was named is not usable here."""
        if self.failed:
            return 1
        return RuntimeUnavailableError.exit_status if self.unavailable else 0
