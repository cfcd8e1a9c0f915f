"""`rnnexport train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rnnexport.cli.options import Json, Seed
from rnnexport.cli.output import print_result, say
from rnnexport.training.distributed import is_first_process

Schedule = Literal["constant", "cosine", "plateau"]
Precision = Literal["float32", "bfloat16-mixed", "float16-mixed"]
Log = Literal["csv", "tensorboard"]
Strategy = Literal["auto", "ddp"]
BOTH = ("lstm", "gru")


def train(
    task: Annotated[
        str, typer.Option(help="The data set, such as vowels, names or adding-200; see the README.")
    ] = "vowels",
    cell: Annotated[str, typer.Option(help="lstm, gru, gru-reset-before, or both (lstm and gru).")] = "both",
    hidden_size: Annotated[int | None, typer.Option(min=1, help="Units per layer. Default: the task's.")] = None,
    num_layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 1,
    bidirectional: Annotated[bool, typer.Option("--bidirectional", help="Read the series in both directions.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes. Default: the task's.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Series per update. Default: the task's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: the task's.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Default: the task's.")] = None,
    gradient_clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient. Default: 1.")] = None,
    schedule: Annotated[Schedule | None, typer.Option(help="What becomes of the learning rate.")] = None,
    precision: Annotated[Precision, typer.Option(help="Mixed precision needs a CUDA device.")] = "float32",
    devices: Annotated[int, typer.Option(min=1, help="Processes on each node that share each batch.")] = 1,
    num_nodes: Annotated[int, typer.Option(min=1, help="Hosts; torchrun starts the processes on each.")] = 1,
    strategy: Annotated[Strategy, typer.Option(help="auto takes ddp where processes share a batch.")] = "auto",
    log: Annotated[Log | None, typer.Option(help="Write the losses of each epoch to OUT/logs.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Your own series in place of --task: .csv, .parquet, .npz or .ts.", show_default=False),
    ] = None,
    series_column: Annotated[str, typer.Option(help="Of a table: which series a row belongs to.")] = "series",
    label_column: Annotated[str, typer.Option(help="Of a table: the series' class.")] = "label",
    feature: Annotated[
        list[str] | None, typer.Option(help="Of a table: a column to read; repeat it. Default: all others.")
    ] = None,
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
    from rnnexport.training.training import train as train_cell

    cells = BOTH if cell == "both" else (cell,)
    settings: dict[str, Any] = {
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "gradient_clip": gradient_clip,
        "schedule": schedule,
        "precision": precision,
        "devices": devices,
        "num_nodes": num_nodes,
        "strategy": strategy,
        "log": log,
        "seed": seed,
        "resume": resume,
    }
    if data is not None:
        from rnnexport.data.files import DataFile

        settings["data"] = DataFile(
            path=str(data), series_column=series_column, label_column=label_column, features=tuple(feature or ())
        )
    results = [train_cell(task, each, out=_folder(out, each, cells), **settings) for each in cells]
    if not is_first_process():
        return
    for result in results:
        if result.stopped:
            say(f"{result.folder}: {result.stopped}")
    print_result(results, [training_table(results)], as_json=json)


def _folder(out: Path | None, cell: str, cells: tuple[str, ...]) -> Path | None:
    """With several cells, each gets a folder of its own below `--out`."""
    return out / cell if out is not None and len(cells) > 1 else out
