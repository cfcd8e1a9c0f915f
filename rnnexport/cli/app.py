"""All commands, as one Typer application.

Each command is a file, loaded when it is called: `rnnexport --help` loads none of them. The command modules in turn
import the library inside their functions, so that `rnnexport COMMAND --help` loads neither PyTorch nor a runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "train": "Train an LSTM and a GRU on real data.",
    "export": "Write a model as an ONNX bundle.",
    "verify": "Prove that every runtime computes the model that was trained.",
    "drift": "Follow each runtime's error along a very long series.",
    "bench": "Measure latency, throughput or a load of another kind, of right answers only.",
    "report": "Write one page of all that bundles hold: the verdict, figures, plots, and how they were made.",
    "predict": "Predict the class, or the values, of each series in a file.",
    "show": "Print what is in a bundle, after checking that it is whole, or in an ONNX file.",
    "lint": "Say what is wrong or risky in an ONNX file with recurrent layers, and what each runtime makes of it.",
    "optimize": "Write the LSTM and GRU nodes of an ONNX file as another graph variant, and say what that costs.",
    "tune": "Find the fastest way to run a model on this machine within an error budget, and keep it as the plan.",
    "check": "Judge models by the rules of rnnexport.toml: one verdict for continuous integration.",
    "runtimes": "List the runtimes and whether each is usable on this machine.",
    "doctor": "Say what this machine and this installation are, and what is known to go wrong with them.",
    "demo": "Take the tour in five minutes: the commands, run on an LSTM and a GRU that come with rnnexport.",
    "schema": "Print the JSON Schema of a TOML file, by which editors complete and check it.",
    "conformance": "Hold a runtime against the specification of the ONNX operators LSTM and GRU.",
    "compare": "Measure what is said of LSTM and GRU: compute, training time, quality, long memory, latency.",
}
"""What each does: the first line of its own help."""


def load_command(name: str) -> Any:
    """Return a command, which is a function of that name in a module of that name."""
    from rnnexport.cli.commands import command

    alone = typer.Typer(rich_markup_mode="rich", add_completion=False)
    alone.command(name)(command(getattr(import_module(f"rnnexport.cli.{name}"), name)))
    return typer.main.get_command(alone)


class _LoadedWhenCalled(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else None, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])  # Typer's own would cut them to one line each


app = typer.Typer(
    name="rnnexport",
    help="Take LSTM and GRU models from PyTorch to ONNX Runtime and OpenVINO, "
    "prove that they are still the same model, and measure how fast they are.",
    cls=_LoadedWhenCalled,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text; Rich's takes longer than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _what in COMMANDS.items():
    app.command(_name, help=_what)(lambda: None)


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
