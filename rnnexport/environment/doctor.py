"""The facts and what is amiss, as one report."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from rnnexport.environment.conflicts import Conflict, conflicts
from rnnexport.environment.installation import Facts, gather


class DoctorReport(BaseModel):
    """What `rnnexport doctor` found."""

    schema_version: Literal[1] = 1
    facts: Facts
    conflicts: list[Conflict]

    @property
    def exit_status(self) -> int:
        """1 where something does not work."""
        return 1 if any(conflict.level == "error" for conflict in self.conflicts) else 0


def examine() -> DoctorReport:
    """Look at this machine and this installation."""
    facts = gather()
    return DoctorReport(facts=facts, conflicts=conflicts(facts))
