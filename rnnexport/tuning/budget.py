"""What a plan may cost: nothing but rounding, an absolute error, or a part of the task's metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from pydantic import BaseModel

from rnnexport.data.metrics import ERRORS
from rnnexport.errors import InputError

Kind = Literal["float32", "max-error", "metric-drop"]
_KINDS = ("max-error", "metric-drop")


class Quality(BaseModel):
    """How right a candidate is, on inputs of the model's own."""

    error: float
    """Largest |actual - float64 reference| of any output."""
    metric: float | None = None
    """The task's, where it can be told."""
    float32_fault: str | None = None
    """Why it would fail the rule of `verify` for float32, or nothing."""


@dataclass(frozen=True)
class Budget:
    """A limit that a plan must hold."""

    kind: Kind
    limit: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read `float32`, `max-error=1e-3` or `metric-drop=0.002`.

        Raises:
            InputError: It is none of them.
        """
        name, _, number = text.partition("=")
        if text == "float32":
            return cls("float32")
        try:
            limit = float(number)
        except ValueError:
            limit = -1.0
        if name not in _KINDS or not 0 <= limit < float("inf"):
            raise InputError(f"`budget={text!r}`: choose float32, max-error=1e-3 or metric-drop=0.002, or the like")
        return cls(cast(Kind, name), limit)

    def __str__(self) -> str:
        """As it is asked for."""
        return self.kind if self.kind == "float32" else f"{self.kind}={self.limit:g}"

    @property
    def lossy(self) -> bool:
        """Whether anything but float32 may run."""
        return self.kind != "float32"

    def excess(self, quality: Quality, metric: str | None, reference: float | None) -> float:
        """How many times the limit the quality is, at most 1 where it holds; infinite where it cannot be told."""
        if self.kind == "float32":
            return float("inf") if quality.float32_fault else 0.0
        if self.kind == "max-error":
            return quality.error / max(self.limit, 1e-300)
        if quality.metric is None or reference is None:
            return float("inf")
        worse_by = quality.metric - reference if metric in ERRORS else reference - quality.metric
        return worse_by / self.limit if self.limit else (float("inf") if worse_by > 0 else 0.0)
