"""`rnnexport train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, say
from rnnexport.training.distributed import is_first_process
from rnnexport.training.options import TrainOptions

BOTH = ("lstm", "gru")


def train(
    options: TrainOptions,
    cell: Annotated[str, typer.Option(help="lstm, gru, gru-reset-before, or both (lstm and gru).")] = "both",
    data: Annotated[
        Path | None,
        typer.Option(help="Your own series in place of --task: .csv, .parquet, .npz or .ts.", show_default=False),
    ] = None,
    series_column: Annotated[str, typer.Option(help="Of a table: which series a row belongs to.")] = "series",
    label_column: Annotated[str, typer.Option(help="Of a table: the series' class.")] = "label",
    feature: Annotated[
        list[str] | None, typer.Option(help="Of a table: a column to read; repeat it. Default: all others.")
    ] = None,
    json: Json = False,
) -> None:
    """Train an LSTM and a GRU on real data.

    Example: rnnexport train --task vowels --cell gru --seed 1
    """
    from rnnexport.data.files import LABEL_COLUMN, SERIES_COLUMN, DataFile
    from rnnexport.errors import InputError
    from rnnexport.report.training import training_table
    from rnnexport.training.training import train_with

    if data is None and (feature or (series_column, label_column) != (SERIES_COLUMN, LABEL_COLUMN)):
        raise InputError("--feature, --series-column and --label-column are for --data; leave them out")
    if data is not None:
        columns = tuple(feature or ())
        file = DataFile(path=str(data), series_column=series_column, label_column=label_column, features=columns)
        options = replace(options, data=file)
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
