"""The options of a report."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_doc import Doc

from rnnexport.arguments.options import Options

Format = Literal["html", "md"]


@dataclass(frozen=True)
class ReportOptions(Options):
    """What a report is about, and what it is written as."""

    bundles: Annotated[Sequence[str | Path], Doc("Exported folders, at least one.")] = ()
    _: KW_ONLY
    out: Annotated[
        str | Path | None, Doc("The file to write. Default: report.html, or with `format=md` standard output.")
    ] = None
    format: Annotated[Format, Doc("A page of its own, or Markdown for a comment on a pull request.")] = "html"
    compare_with: Annotated[str | Path | None, Doc("An earlier bench.json to set beside the bundles' own.")] = None
