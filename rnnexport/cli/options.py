"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Runtimes = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        "-r",
        help="A runtime's name (see `rnnexport runtimes`) or a path to a .toml file; repeat it for several. "
        "Default: every usable float32 runtime.",
    ),
]
BundlePath = Annotated[Path, typer.Argument(help="The exported folder, such as exported/gru.", show_default=False)]
BundlePaths = Annotated[list[Path], typer.Argument(help="Exported folders, such as exported/gru.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.")]
