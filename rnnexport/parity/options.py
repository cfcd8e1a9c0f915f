"""The options of a proof of parity."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge

from rnnexport.arguments.options import OnProgress, Options, Runtimes, Seed, silent

GridName = Literal["quick", "default", "full"]


@dataclass(frozen=True)
class Limits(Options):
    """Of each process."""

    time_limit_seconds: Annotated[float, Ge(1), Doc("Seconds for a runtime's loading, and for each call.")] = 600.0
    memory_limit_bytes: Annotated[int | None, Doc("Of a runtime's process. Default: none.")] = None


@dataclass(frozen=True)
class VerifyOptions(Options):
    """Where a bundle is judged, and at how many calls."""

    runtimes: Runtimes = ()
    _: KW_ONLY
    grid: Annotated[GridName, Doc("How many calls are made.")] = "default"
    case: Annotated[
        int | None, Ge(0), Doc("Make this call alone, by its number in parity.json; then nothing is written.")
    ] = None
    limits: Annotated[Limits, Doc("Of each runtime's processes.")] = Limits()
    seed: Seed = 0
    on_progress: OnProgress = silent


@dataclass(frozen=True)
class DriftOptions(Options):
    """How long the series is along which an error is followed, and where."""

    runtimes: Annotated[
        Sequence[str | Path],
        Doc("A runtime's name or a .toml file. Default: every usable runtime, of every precision."),
    ] = ()
    _: KW_ONLY
    steps: Annotated[int, Ge(1), Doc("Time steps of the series.")] = 100_000
    seed: Seed = 0
    on_progress: OnProgress = silent
