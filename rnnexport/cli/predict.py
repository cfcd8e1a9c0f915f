"""`rnnexport predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import BundlePath, Json
from rnnexport.cli.output import print_result


def predict(
    bundle: BundlePath,
    series: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A .npz with one array [time, features] per series, or a .csv with one row per time step and one "
            "column per feature (a column `series` tells several apart); for a model of text, a "
            ".txt with a text on each line.",
            show_default=False,
        ),
    ],
    runtime: Annotated[str, typer.Option("--runtime", "-r", help="The runtime that computes.")] = "ort-cpu",
    json: Json = False,
) -> None:
    """Predict the class, or the values, of each series in a file.

    Example: rnnexport predict exported/gru recordings.npz
    """
    from rnnexport.predictor import load, read_series
    from rnnexport.report.predictions import predictions_table

    predictor = load(bundle, runtime=runtime)
    predictions = predictor.predict(read_series(series, predictor.vocabulary))
    print_result(predictions, [predictions_table(predictions)], as_json=json)
