"""`rnnexport lint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, progress, say
from rnnexport.errors import InputError

if TYPE_CHECKING:
    from rnnexport.linting.results import LintReport


def lint(
    files: Annotated[list[Path], typer.Argument(help="ONNX files, or exported folders.", show_default=False)],
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

    An exported folder keeps the result, for `rnnexport report`.

    Status 1 where something is wrong, 2 where a file cannot be read; the others are checked all the same.

    Example: rnnexport lint recognizer.onnx --fix -o repaired.onnx
    """
    if fix != (out is not None):
        raise InputError("a repair needs both: --fix and -o FILE")
    if inputs and not fix:
        raise InputError("--inputs are to prove a repair with; add --fix and -o FILE, or leave them out")
    if fix and len(files) > 1:
        raise InputError("--fix repairs one file at a time; name one")
    from rnnexport.linting.lint import lint as lint_file
    from rnnexport.report.lint import lint_tables

    reports: list[LintReport] = []
    unread: list[InputError] = []
    for file in files:
        try:
            with progress(f"checking {file}") as on_progress:
                reports.append(lint_file(file, out, inputs or (), on_progress=on_progress))
        except InputError as exc:
            if len(files) == 1:
                raise
            say(f"rnnexport: {exc}")
            unread.append(exc)
    result: Any = reports if len(files) > 1 else reports[0]
    if sarif:
        from rnnexport.report.sarif import lint_log

        result = lint_log(reports)
    print_result(result, [table for report in reports for table in lint_tables(report)], as_json=json or sarif)
    raise typer.Exit(max([report.exit_status for report in reports] + [exc.exit_status for exc in unread]))
