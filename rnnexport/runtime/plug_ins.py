"""Engines of other packages, asked in a process of their own before this one imports them.

A plug-in may raise, hang or end the process when it is imported or asked; that is a fact about its own runtime, and no
reason for the others to be lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Availability, Definition, Feeds
from rnnexport.runtime.worker import Arrays, CaseResult, Extras, run_job

_SECONDS = 60


def ask_elsewhere(definition: Definition) -> Availability:
    """Say whether a definition works here, as its engine says in a process of its own; asked once.

    Raises:
        InputError: The engine does not know an option.
        EngineError: The engine cannot be imported, or ended or hung the process that asked it.
    """
    answer = _asked(definition.model_dump_json()).checked()
    return Availability(**answer.extras)


@cache
def _asked(definition: str) -> CaseResult:
    job = "rnnexport.runtime.plug_ins:asking_job"
    (result,) = run_job(job, {"definition": definition}, [{}], time_limit_seconds=_SECONDS)
    return result


def asking_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Check the options, and ask whether the definition works; the extras are the fields of `Availability`."""
    definition = Definition.model_validate_json(arguments["definition"])
    engine = get_engine(definition.engine)
    for _ in cases:
        engine.check_options(definition)
        try:
            found = engine.available(definition)
            said = {name: getattr(found, name) for name in Availability.__slots__}
        except Exception as exc:  # which the contract forbids
            said = {"usable": False, "version": None, "reason": f"asking it raised {type(exc).__name__}: {exc}"}
        yield {}, said
