"""`rnnexport train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rnnexport.cli.options import Json, Seed
from rnnexport.cli.output import print_result

BOTH = ("lstm", "gru")


def train(
    task: Annotated[str, typer.Option(help="The data set: vowels or article.")] = "vowels",
    cell: Annotated[str, typer.Option(help="lstm, gru, gru-reset-before, or both (lstm and gru).")] = "both",
    hidden_size: Annotated[int | None, typer.Option(min=1, help="Units per layer. Default: the task's.")] = None,
    num_layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 1,
    bidirectional: Annotated[bool, typer.Option("--bidirectional", help="Read the series in both directions.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes. Default: the task's.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Series per update. Default: the task's.")] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the checkpoint. Default: checkpoints/TASK-CELL.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was interrupted.")] = False,
    json: Json = False,
) -> None:
    """Train an LSTM and a GRU on real data.

    Example: rnnexport train --task vowels --cell gru --seed 1
    """
    from rnnexport.report.training import training_table
    from rnnexport.training import train as train_cell

    cells = BOTH if cell == "both" else (cell,)
    settings: dict[str, Any] = {
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "resume": resume,
    }
    results = [train_cell(task, each, out=_folder(out, each, cells), **settings) for each in cells]
    print_result(results, [training_table(results)], as_json=json)


def _folder(out: Path | None, cell: str, cells: tuple[str, ...]) -> Path | None:
    """With several cells, each gets a folder of its own below `--out`."""
    return out / cell if out is not None and len(cells) > 1 else out
