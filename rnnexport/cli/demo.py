"""`rnnexport demo`."""

from __future__ import annotations

import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder that the tour works in.")] = Path(
        "rnnexport-demo"
    ),
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each row of bench is measured.")] = 0.5,
) -> None:
    """Take the tour in five minutes: the commands, run on an LSTM and a GRU that come with rnnexport.

    Each command is shown before it runs, and can be run again. Status as the worst of them.

    Example: rnnexport demo
    """
    from rnnexport.bundle.bundle import reference_bundles
    from rnnexport.bundle.store import write_bundle
    from rnnexport.cli.app import app

    bundles = [out / path.name.removeprefix("reference-") for path in reference_bundles()]
    for source, target in zip(reference_bundles(), bundles, strict=True):
        with write_bundle(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
    names = [str(bundle) for bundle in bundles]
    steps = [
        ("What a bundle holds.", ["show", names[-1]]),
        ("Whether anything is wrong or risky in its graph.", ["lint", *names]),
        (
            "Whether every runtime computes the model that was trained. An error of 1× float32's own is\n"
            "that of rounding. What becomes of NaN and Inf is told, and not judged.",
            ["verify", *names],
        ),
        (
            "How fast each runtime is. A row whose answers are wrong would have no figures.",
            ["bench", *names, "--seconds", f"{seconds:g}"],
        ),
    ]
    page = out / ("report.html" if find_spec("matplotlib") else "report.md")
    as_markdown = [] if page.suffix == ".html" else ["--format", "md"]
    steps.append(("All of it on one page.", ["report", *names, "-o", str(page), *as_markdown]))
    worst = 0
    for sentence, arguments in steps:
        typer.echo(f"\n{sentence}\n$ rnnexport {shlex.join(arguments)}")
        worst = max(worst, app(arguments, standalone_mode=False) or 0)
    typer.echo(f"\nThe report is {page}.\nThe models are {' and '.join(names)}.")
    typer.echo("Next: rnnexport export --help says how a model of your own becomes a bundle.")
    raise typer.Exit(worst)
