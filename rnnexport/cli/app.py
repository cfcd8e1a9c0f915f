"""All commands, as one Typer application.

Each command is a file. The command modules import the library inside their functions, so that `rnnexport --help` loads
neither PyTorch nor a runtime.
"""

from __future__ import annotations

from typing import Annotated

import typer

from rnnexport.cli import (
    bench,
    check,
    compare,
    conformance,
    demo,
    doctor,
    drift,
    export,
    lint,
    optimize,
    predict,
    runtimes,
    schema,
    show,
    train,
    tune,
    verify,
)
from rnnexport.cli.commands import command

app = typer.Typer(
    name="rnnexport",
    help="Take LSTM and GRU models from PyTorch to ONNX Runtime and OpenVINO, "
    "prove that they are still the same model, and measure how fast they are.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _module in (
    *(train, export, verify, drift, bench, predict, show),
    *(lint, optimize, tune, check, runtimes, doctor, demo, schema, conformance, compare),
):
    app.command()(command(getattr(_module, _module.__name__.rpartition(".")[2])))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"rnnexport {version('rnnexport')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
