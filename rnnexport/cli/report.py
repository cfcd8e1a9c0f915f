"""`rnnexport report`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.output import say
from rnnexport.report.options import ReportOptions


def report(
    options: ReportOptions,
    bundles: Annotated[list[Path], typer.Argument(help="Exported folders, such as exported/gru.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The file to write. Default: report.html, or with --format md standard output.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write one page of all that bundles hold: the verdict, figures, plots, and how they were made.

    The page is a single file that needs no network. It shows what verify, drift, bench, tune and lint left in the
    bundles, and runs none of them; what is missing is named with the command that makes it. The status does not depend
    on the verdict.

    Example: rnnexport report exported/gru -o report.html

    Example: rnnexport report exported/gru --format md
    """
    from rnnexport.report.page.writing import DEFAULT_PAGE, report_with

    if out is None and options.format == "html":
        out = DEFAULT_PAGE
    text = report_with(replace(options, bundles=bundles, out=out))
    if out is None:
        typer.echo(text)
    else:
        say(f"the report is in {out}")
