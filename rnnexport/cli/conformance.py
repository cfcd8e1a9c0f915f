"""`rnnexport conformance`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json, Seed
from rnnexport.cli.output import print_result, progress, tell_shadowed

_Runtimes = Annotated[
    list[str],
    typer.Option("--runtime", "-r", help="A runtime's name or a path to a .toml file; repeat it for several."),
]


def conformance(
    runtime: _Runtimes,
    examples: Annotated[int, typer.Option(help="How many graphs each runtime is asked.", min=1)] = 50,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="A new folder for the minimal test cases.", show_default="none is written")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables in Markdown.")] = False,
    json: Json = False,
) -> None:
    """Hold a runtime against the specification of the ONNX operators LSTM and GRU.

    Draws small graphs with every attribute and input of the operators, compares the runtime with a float64 evaluation,
    and boils each disagreement down to a minimal test case. Status 1 if the runtime is wrong or crashes, 3 if one that
    was named is not usable here.

    Example: rnnexport conformance --runtime ort-cpu --examples 500 --out conformance
    """
    from rnnexport.conformance import conformance as check_conformance
    from rnnexport.report.conformance import conformance_markdown, conformance_tables

    tell_shadowed(runtime)
    with progress("drawing examples") as on_progress:
        report = check_conformance(runtime, examples=examples, seed=seed, out=out, on_progress=on_progress)
    if markdown and not json:
        typer.echo(conformance_markdown(report))
    else:
        print_result(report, conformance_tables(report), as_json=json)
    raise typer.Exit(report.exit_status)
