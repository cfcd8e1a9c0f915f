"""Predictions as a file: a table with a row for each series, or for each time step where each has an answer."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from rnnexport.errors import InputError
from rnnexport.files.destinations import check_new_file
from rnnexport.files.whole_files import written_whole
from rnnexport.predicting.predictor import Prediction, Predictions

_SUFFIXES = (".csv", ".parquet", ".json")


def check_target(path: Path) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises:
        InputError: Another kind of file, no such folder, or Parquet without its packages.
    """
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} is none of {', '.join(_SUFFIXES)}")
    check_new_file(path, "out")
    if path.suffix == ".parquet":
        try:
            import pandas  # noqa: F401  # asked for only to know whether it is there
            import pyarrow  # noqa: F401
        except ImportError as exc:
            raise InputError(
                f"{path} cannot be written without pandas and pyarrow: pip install 'rnnexport[parquet]'"
            ) from exc


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write all predictions, whole or not at all; a file that is there is replaced.

    Raises:
        InputError: The disk refuses.
    """
    with written_whole(path) as temporary:
        _write(predictions, temporary, path.suffix)


def _write(predictions: Predictions, path: Path, suffix: str) -> None:
    if suffix == ".json":
        from pydantic_core import to_json

        path.write_bytes(to_json(predictions, indent=1, inf_nan_mode="null"))
        return
    rows = [row for prediction in predictions.series for row in _rows(prediction, predictions.class_names)]
    if suffix == ".parquet":
        import pandas as pd

        pd.DataFrame(rows).to_parquet(path, index=False)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _rows(prediction: Prediction, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The series, then its class and a column for each class; or `step` and `class`; or `value 0`, `value 1` and on."""
    head = {"series": prediction.name}
    if prediction.steps:
        return [{**head, "step": step, "class": name} for step, name in enumerate(prediction.steps)]
    if prediction.class_name is not None:
        shares = dict(zip((f"p({name})" for name in class_names), prediction.probabilities, strict=True))
        return [{**head, "class": prediction.class_name, **shares}]
    values = prediction.values
    if values and isinstance(values[0], list):
        return [{**head, "step": step, **_values(row)} for step, row in enumerate(values)]
    return [{**head, **_values(values)}]


def _values(values: Any) -> dict[str, float]:
    return {f"value {number}": value for number, value in enumerate(values)}
