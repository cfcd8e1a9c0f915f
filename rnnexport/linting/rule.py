"""What a rule is. A rule is a file in `rules/`; nothing else need know of it."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import ClassVar, Literal

import onnx_ir as ir

from rnnexport.linting.linted_model import LintedModel

Severity = Literal["error", "warning", "note"]
"""`error`: some runtime computes something else or nothing; `warning`: it may; `note`: good to know."""


class Rule(abc.ABC):
    """One thing that can be wrong with a file."""

    name: ClassVar[str]
    """In kebab-case, as people suppress or look it up."""
    severity: ClassVar[Severity]
    title: ClassVar[str]
    """What is wrong, in a few words."""
    consequences: ClassVar[dict[str, str]]
    """By runtime, or `every runtime`: what happens there."""
    changes_results: ClassVar[bool] = False
    """Whether the repair gives other numbers than the file as its runtimes should read it."""

    @abc.abstractmethod
    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Yield (where, what exactly) for each place."""

    def repairs(self, checked: LintedModel, where: str) -> bool:
        """Whether the repair takes away what `check` found at `where`."""
        return self.repair() is not None

    def repair(self) -> ir.passes.InPlacePass | None:
        """Return the pass that takes the fault away, or `None` where only the owner can."""
        return None
