"""`rnnexport predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import BundlePath, Json
from rnnexport.cli.output import print_result, progress, say


def predict(
    bundle: BundlePath,
    series: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A .npy with one series [time, features] or several [series, time, features]; a .npz with one array "
            "[time, features] per series; a .csv or .parquet with one row per time step and one column per feature "
            "(a column `series` tells several apart); for a model of text, a .txt with a text on each line.",
            show_default=False,
        ),
    ],
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", "-r", help="Run the baseline in this runtime, not the plan.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write all predictions here: .csv, .parquet or .json.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Predict the class, or the values, of each series in a file.

    Example: rnnexport predict exported/gru recordings.npz --out classes.csv
    """
    from rnnexport.predicting.predictor import load
    from rnnexport.predicting.series_files import read_series
    from rnnexport.report.prediction_files import check_target, write_predictions
    from rnnexport.report.predictions import predictions_table

    if out is not None:
        check_target(out)
    predictor = load(bundle, runtime=runtime)
    with progress("predicting") as tell:
        tell(f"reading {series}")
        named = read_series(series, predictor.vocabulary, tokens=predictor.takes_tokens)
        predictions = predictor.predict(named, tell)
        if out is not None:
            tell(f"writing {out}")
            write_predictions(predictions, out)
    if out is not None:
        say(f"{len(predictions.series)} predictions are in {out}")
    if json or out is None:
        print_result(predictions, [predictions_table(predictions)], as_json=json)
