"""What one training of a study came to."""

from __future__ import annotations

from pydantic import BaseModel

from rnnexport.study.trainings import TrainingRun


class RunResult(BaseModel):
    """What one training came to."""

    run: TrainingRun
    folder: str
    failure: str | None = None
    """Why there are no figures: it diverged at once, or the cell had failed at a shorter length."""
    metric: str = ""
    test: float = float("nan")
    baseline: float = float("nan")
    parameters: int = 0
    updates: int = 0
    updates_to_target: int | None = None
    """`None` where the target was missed, or the task has none."""
    seconds: float | None = None
    """From start to end by the clock, data and scores included."""
    cpu_seconds_per_epoch: float = float("nan")
    """Of its one thread, validation included: what other programs do on the machine hardly shows in it."""
    peak_memory_bytes: int = 0
    """By how much the process grew while it trained."""
    validation: list[float] = []
    """The metric after each epoch."""

    @property
    def cpu_seconds_to_target(self) -> float | None:
        """Time until the target, if it was reached."""
        if self.updates_to_target is None:
            return None
        return self.cpu_seconds_per_epoch * self.updates_to_target / self.updates * len(self.validation)
