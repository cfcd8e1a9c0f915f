"""`rnnexport compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, progress

Match = Literal["hidden", "parameters", "compute"]


def compare(
    task: Annotated[
        list[str] | None,
        typer.Option(help="A task, such as names or adding-200; repeat it. Default: five, and adding and copy."),
    ] = None,
    cells: Annotated[str, typer.Option(help="Cells, with commas: lstm, gru, gru-reset-before, rnn.")] = "lstm,gru",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each cell on each task.")] = 5,
    match: Annotated[Match, typer.Option(help="What is alike between the cells.")] = "hidden",
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes. Default: the study's own.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for study.md, its plots and study.json.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure what is said of LSTM and GRU: compute, training time, quality, long memory, latency.

    Trainings that are done are kept in checkpoints/study, so an interrupted study goes on where it was. The default
    takes about 40 minutes on two cores.

    Example: rnnexport compare --task vowels --task sunspots --seeds 3
    """
    from rnnexport.files.destinations import check_new_folder
    from rnnexport.report.study import study_tables
    from rnnexport.report.study_page import write_study
    from rnnexport.study.study import TASKS
    from rnnexport.study.study import compare as compare_cells

    if out is not None:
        check_new_folder(out, "out")
    with progress("study", in_lines=True) as on_progress:
        result = compare_cells(
            task or TASKS, cells.split(","), seeds=seeds, match=match, epochs=epochs, on_progress=on_progress
        )
    if out is not None:
        write_study(result, out)
    print_result(result, study_tables(result), as_json=json)
