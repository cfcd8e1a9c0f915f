"""Series of a file, for prediction.

* `.npy`: one series [time, features], or several [series, time, features]. `.npz`: one array for each series.
* `.csv` and `.parquet`: a row for each time step, a column for each feature; a column `series` tells several apart. A
  column `label`, as files for training have it, is left out.
* `.txt`, for a model of text: a text on each line, whose characters become tokens.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from rnnexport.data.options import TableColumns
from rnnexport.data.tasks.names import encode
from rnnexport.errors import InputError
from rnnexport.files.arrays import read_npy, read_npz
from rnnexport.predicting.series import Series

_COLUMNS = TableColumns()


def read_series(path: Path, vocabulary: tuple[str, ...] = (), *, tokens: bool = False) -> dict[str, Series]:
    """Read named series, each [time, features]; with a vocabulary, of a .txt; with `tokens`, each [time].

    Raises:
        InputError: The file is missing, of another kind, or malformed; the message names the place.
    """
    readers: dict[str, Callable[[Path], dict[str, Series]]] = {
        ".npy": partial(_read_npy, rank=1 if tokens else 2),
        ".npz": read_npz,
        ".csv": partial(_read_table, read=_read_csv, tokens=tokens),
        ".parquet": partial(_read_table, read=_read_parquet, tokens=tokens),
    }
    if vocabulary:
        readers = {".txt": partial(_read_text, vocabulary=vocabulary)}
    if path.suffix not in readers:
        kinds = "no .txt with a text on each line" if vocabulary else f"none of {', '.join(readers)}"
        raise InputError(f"{path} is {kinds}")
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        series = readers[path.suffix](path)
    except ImportError as exc:
        raise InputError(f"{path} cannot be read without pandas and pyarrow: pip install 'rnnexport[parquet]'") from exc
    except InputError:
        raise
    except Exception as exc:  # damaged files make csv, pandas and pyarrow raise all kinds
        raise InputError(f"{path} cannot be read: {str(exc).partition(chr(10))[0]}") from exc
    if not series:
        raise InputError(f"{path} holds no series")
    return series


def _read_text(path: Path, vocabulary: tuple[str, ...]) -> dict[str, Series]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    try:
        return {line: encode(line, vocabulary) for line in lines if line}
    except InputError as exc:
        raise InputError(f"{path}: {exc}") from exc


def _read_npy(path: Path, rank: int) -> dict[str, Series]:
    array = read_npy(path)
    if array.ndim == rank:
        return {path.stem: array}
    if array.ndim != rank + 1:
        wanted = ("[time] or [series, time]", "[time, features] or [series, time, features]")[rank - 1]
        raise InputError(f"{path} has shape {list(array.shape)}; it needs {wanted}")
    return {str(number): values for number, values in enumerate(array)}


def _read_table(path: Path, read: Callable[[Path], dict[str, Series]], *, tokens: bool) -> dict[str, Series]:
    series = read(path)
    if not tokens:
        return series
    for name, values in series.items():
        if values.shape[1] != 1 or (values != np.floor(values)).any():
            raise InputError(f"{path}: series {name!r} is not one column of tokens, which are whole numbers")
    return {name: values[:, 0].astype(np.int64) for name, values in series.items()}


def _read_csv(path: Path) -> dict[str, Series]:
    rows: dict[str, list[list[float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            name = row.pop(_COLUMNS.series_column, path.stem)
            if name is None:
                raise InputError(f"{path}, line {line}: it is short of the field {_COLUMNS.series_column!r}")
            row.pop(_COLUMNS.label_column, None)
            try:
                rows.setdefault(name, []).append([float(value) for value in row.values()])
            except (TypeError, ValueError) as exc:
                raise InputError(f"{path}, line {line}: not a number in each of the columns {list(row)}") from exc
    if not rows:
        raise InputError(f"{path} has no rows below its header")
    return {name: np.array(values) for name, values in rows.items()}


def _read_parquet(path: Path) -> dict[str, Series]:
    import pandas as pd

    table = pd.read_parquet(path)
    features = [column for column in table.columns if column not in (_COLUMNS.series_column, _COLUMNS.label_column)]
    if table.empty or not features:
        raise InputError(f"{path} has no {'rows' if table.empty else 'column of features'}")
    values = table[features].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    for row, column in np.argwhere(np.isnan(values)):
        raise InputError(
            f"{path}, row {row + 1}: {table[features[column]].iloc[row]!r} in {features[column]!r} is no number"
        )
    if _COLUMNS.series_column not in table.columns:
        return {path.stem: values}
    places = table.groupby(table[_COLUMNS.series_column].astype(str), sort=False).indices
    return {str(name): values[rows] for name, rows in places.items()}
