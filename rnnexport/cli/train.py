"""`rnnexport train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, say
from rnnexport.data.options import DataFile, TableColumns
from rnnexport.training.distributed import is_first_process
from rnnexport.training.options import TrainOptions

BOTH = ("lstm", "gru")


def train(
    options: TrainOptions,
    columns: TableColumns,
    cell: Annotated[str, typer.Option(help="lstm, gru, gru-reset-before, rnn, or both (lstm and gru).")] = "both",
    data: Annotated[
        Path | None,
        typer.Option(help="Your own series in place of --task: .csv, .parquet, .npz or .ts.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Train an LSTM and a GRU on real data.

    Example: rnnexport train --task vowels --cell gru --seed 1
    """
    from rnnexport.report.training import training_table
    from rnnexport.training.training import train_with

    if data is None:
        columns.refuse_all_but((), "a training without `data`")
    else:
        options = replace(options, data=DataFile(path=str(data), **vars(columns)))
    cells = BOTH if cell == "both" else (cell,)
    if options.out is not None and len(cells) > 1:
        chosen = [replace(options, cell=each, out=Path(options.out) / each) for each in cells]
    else:
        chosen = [replace(options, cell=each) for each in cells]
    results = [train_with(each) for each in chosen]
    if not is_first_process():
        return
    for result in results:
        if result.stopped:
            say(f"{result.folder}: {result.stopped}")
    print_result(results, [training_table(results)], as_json=json)
