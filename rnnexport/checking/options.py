"""The options of a check."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from annotated_doc import Doc

from rnnexport.arguments.options import OnProgress, Options, silent


@dataclass(frozen=True)
class CheckOptions(Options):
    """By which rules models are judged."""

    config: Annotated[
        str | Path | None, Doc("The settings. Default: rnnexport.toml in the working directory, where there is one.")
    ] = None
    _: KW_ONLY
    write_baseline: Annotated[
        bool, Doc("Keep the models that pass as the baseline that later checks compare with; compare with none now.")
    ] = False
    on_note: Annotated[Callable[[str], None], Doc("Is told what an export found, one sentence each.")] = silent
    on_progress: OnProgress = silent
