"""The command line: parse, call the library, print.

Each command is a file. The command modules import the library inside their functions, so that `rnnexport --help` loads
neither PyTorch nor a runtime.
"""

from __future__ import annotations

import os
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
from rnnexport.cli.output import warnings_as_lines
from rnnexport.errors import RnnexportError

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

DEBUG_VARIABLE = "RNNEXPORT_DEBUG"
_INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h


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
    try:
        with warnings_as_lines():
            app()
    except RnnexportError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        where = f" {error.filename!r}" if error.filename else ""
        _fail(f"{error.strerror or error}{where}", 2)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        _fail(
            f"a fault in rnnexport itself: {type(error).__name__}: {error}\n"
            f"set {DEBUG_VARIABLE}=1 to see where, and please report it",
            _INTERNAL_ERROR,
        )


def _fail(message: str, status: int) -> None:
    sys.stdout.flush()
    print(f"rnnexport: {message}", file=sys.stderr)
    sys.exit(status)
