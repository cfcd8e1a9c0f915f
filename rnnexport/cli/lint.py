"""`rnnexport lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, progress
from rnnexport.errors import InputError


def lint(
    model: Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)],
    fix: Annotated[bool, typer.Option("--fix", help="Write a repaired copy, proved by running both.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the repaired copy goes.", show_default=False)
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Real inputs to prove a repair with: a .npz with one array for each. May be given several times.",
            show_default=False,
        ),
    ] = None,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print a SARIF log, for code review tools.")] = False,
    json: Json = False,
) -> None:
    """Say what is wrong or risky in an ONNX file with recurrent layers, and what each runtime makes of it.

    Status 1 where something is wrong.

    Example: rnnexport lint recognizer.onnx --fix -o repaired.onnx
    """
    if fix != (out is not None):
        raise InputError("a repair needs both: --fix and -o FILE")
    if inputs and not fix:
        raise InputError("--inputs are to prove a repair with; add --fix and -o FILE, or leave them out")
    from rnnexport.linting.lint import lint as lint_file
    from rnnexport.report.lint import lint_tables
    from rnnexport.report.sarif import lint_log

    with progress(f"checking {model}") as on_progress:
        report = lint_file(model, out, inputs or (), on_progress=on_progress)
    print_result(lint_log(report) if sarif else report, lint_tables(report), as_json=json or sarif)
    raise typer.Exit(report.exit_status)
