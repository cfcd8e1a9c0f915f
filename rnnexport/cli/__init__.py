"""The command line: parse, call the library, print.

Each command is a file. The command modules import the library inside their functions, so that `rnnexport --help` loads
neither PyTorch nor a runtime.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from rnnexport.cli import (
    bench,
    compare,
    conformance,
    drift,
    export,
    lint,
    optimize,
    predict,
    runtimes,
    show,
    train,
    tune,
    verify,
)
from rnnexport.cli.commands import command
from rnnexport.cli.ending import run_to_the_end
from rnnexport.cli.output import warnings_as_lines

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
    *(lint, optimize, tune, runtimes, conformance, compare),
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


def main() -> None:
    """Run the command line; every error becomes one message on stderr and an exit status."""
    sys.exit(run_to_the_end(_call))


def _call() -> int | None:
    logging.getLogger("onnx_ir").addHandler(logging.NullHandler())  # a file that contradicts itself is named by us
    logging.getLogger("onnx_ir").propagate = False
    with warnings_as_lines():
        status = app(standalone_mode=False)
    return status if isinstance(status, int) else None
