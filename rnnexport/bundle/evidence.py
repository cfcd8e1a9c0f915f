"""What commands found out about a bundle and keep in it: `parity.json`, `bench.json`, `drift.json` and so on.

Each file carries the manifest's hash, so that it is known to be stale after a new export, and says when and by which
command it was made. What the export itself wrote, such as `training.json`, is in the manifest and so never stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from rnnexport.bundle.bundle import Bundle
from rnnexport.files.json_files import parse_json

EVIDENCE = (
    "parity.json",
    "bench.json",
    "bench-throughput.json",
    "bench-streaming.json",
    "bench-server.json",
    "bench-mix.json",
    "drift.json",
    "lint.json",
    "tune.json",
)
"""What commands keep in a bundle after its export."""

Report = TypeVar("Report", bound=BaseModel)


@dataclass(frozen=True)
class KeptEvidence(Generic[Report]):
    """One file of evidence."""

    name: str
    """Such as `parity.json`."""
    state: Literal["none", "current", "stale", "damaged"]
    """`stale`: of an earlier export; `damaged`: unreadable, or of another schema version."""
    report: Report | None = None
    """What it holds, where it is current or stale."""
    command: str | None = None
    """The command line, or the call from Python, that made it; `None` where it does not say."""
    made_at: str | None = None
    """Date and time, such as `2026-11-29T13:00:01+00:00`."""


def read_evidence(bundle: Bundle, name: str, model: type[Report]) -> KeptEvidence[Report]:
    """Read one file of evidence; whatever is wrong with it is its state."""
    try:
        document = parse_json((bundle.path / name).read_bytes())
    except FileNotFoundError:
        return KeptEvidence(name, "none")
    except (OSError, ValueError):
        return KeptEvidence(name, "damaged")
    try:
        report = model.model_validate(document)
    except (ValidationError, RecursionError):
        return KeptEvidence(name, "damaged")
    current = name in bundle.manifest.files or document.get("manifest_sha256") == bundle.manifest_sha256
    command, made_at = (_text(document.get(key)) for key in ("command", "made_at"))
    return KeptEvidence(name, "current" if current else "stale", report, command, made_at)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
