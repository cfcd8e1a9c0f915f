"""`rnnexport check`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.checking.options import CheckOptions
from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, progress, say


def check(
    options: CheckOptions,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Bundles, or what `rnnexport export` takes: an ONNX file, a Keras file, a TorchScript file, a "
            "checkpoint, a module. Default: those that rnnexport.toml lists.",
            show_default=False,
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write the outcomes as JUnit XML, for a CI server.", show_default=False)
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option(help="Write what failed as a SARIF log, for code review tools.", show_default=False)
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Write a summary in Markdown, for a pull request.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Judge models by the rules of rnnexport.toml: one verdict for continuous integration.

    Each model is exported where its source is given, linted, verified in every runtime, compared with the baseline,
    measured beside it, and held to limits of size, latency and memory. What goes wrong with one hides nothing of the
    others.

    Status 1 if anything fails, 3 if a runtime that was named is not usable here.

    Example: rnnexport check exported/gru --config rnnexport.toml --summary summary.md

    Example: rnnexport check --write-baseline
    """
    from rnnexport.checking.check import check_with
    from rnnexport.files.destinations import check_new_file
    from rnnexport.report.check import check_summary, check_tables
    from rnnexport.report.check_files import junit_xml, write_whole
    from rnnexport.report.sarif import check_log

    wanted = (("junit", junit, junit_xml), ("sarif", sarif, check_log), ("summary", summary, check_summary))
    files = [(name, path, make) for name, path, make in wanted if path is not None]
    for name, path, _ in files:
        check_new_file(path, name)
    with progress("checking") as on_progress:
        report = check_with(models or (), replace(options, on_progress=on_progress, on_note=say))
    for _, path, make in files:
        write_whole(path, make(report))
    print_result(report, check_tables(report), as_json=json)
    raise typer.Exit(report.exit_status)
