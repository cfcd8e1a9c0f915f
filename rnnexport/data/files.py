"""A data set of the user's own, from a file: which class is each series?

* `.csv` and `.parquet`: a row for each time step; a column tells the series apart, another holds the class.
* `.npz`: `values` [steps of all series, features], `lengths` [series] and `labels` [series]. Values of float32 that are
  not compressed are read as they are needed, so that memory does not grow with them; the other kinds are read at once.
* `.ts`: the format of the UEA and UCR archives, read by sktime.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.options import DataFile
from rnnexport.data.task import Dataset, Split, Task, split_off_validation
from rnnexport.errors import InputError
from rnnexport.files.arrays import map_array

HELD_OUT = 0.2
"""Share of the series for the test, and of the rest for validation."""
ROWS_AT_ONCE = 10_000
FEWEST = 5
"""Series of a class, so that each part has one."""


def file_task(file: DataFile) -> Task:
    """Return the task of telling the classes of the file apart.

    Raises:
        InputError: The file is missing, of another kind or malformed; the message names the row.
    """
    series, labels = _read(file)
    classes = sorted(set(labels))
    places = {name: place for place, name in enumerate(classes)}
    split = Split(series, np.array([places[label] for label in labels], np.int64))
    counts = np.bincount(split.labels)
    if len(classes) < 2:
        raise InputError(f"{file.path}: all series are of class {classes[0]!r}, so there is nothing to tell apart")
    if counts.min() < FEWEST:
        rare = classes[int(counts.argmin())]
        raise InputError(f"{file.path}: class {rare!r} has {counts.min()} series; each class needs at least {FEWEST}")
    return Task(
        name=Path(file.path).stem,
        description=f"{len(series)} series of {len(classes)} classes from {Path(file.path).name}.",
        citation="The user's own data.",
        licence="The user's own data.",
        metric="accuracy",
        num_outputs=len(classes),
        defaults=TrainingDefaults(hidden_size=64, epochs=100, batch_size=16, learning_rate=3e-3, patience=15),
        load=partial(_load, split=split, classes=tuple(classes)),
    )


def _load(seed: int, split: Split, classes: tuple[str, ...]) -> Dataset:
    rest, test = split_off_validation(split, HELD_OUT, 0)
    train, validation = split_off_validation(rest, HELD_OUT, seed)
    return Dataset(train, validation, test, classes)


def _read(file: DataFile) -> tuple[list[Any], list[str]]:
    path = Path(file.path)
    if path.suffix not in (".csv", ".parquet", ".npz", ".ts"):
        raise InputError(f"{path} is none of .csv, .parquet, .npz, .ts")
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        if path.suffix == ".npz":
            return _from_npz(path)
        return _from_ts(path) if path.suffix == ".ts" else _from_table(path, file)
    except ImportError as exc:
        extra = "train" if path.suffix == ".ts" else "parquet"
        raise InputError(f"{path} cannot be read: {exc}; run: pip install 'rnnexport[{extra}]'") from exc
    except InputError:
        raise
    except Exception as exc:  # damaged files make pandas, pyarrow and sktime raise all kinds
        raise InputError(f"{path} cannot be read: {str(exc).splitlines()[0] if str(exc) else exc!r}") from exc


def _from_table(path: Path, file: DataFile) -> tuple[list[Any], list[str]]:
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False) if path.suffix == ".csv" else pd.read_parquet(path)
    features = list(file.features) or [c for c in table.columns if c not in (file.series_column, file.label_column)]
    for column in (file.series_column, file.label_column, *features):
        if column not in table.columns:
            raise InputError(f"{path} has no column {column!r}, only: {', '.join(map(str, table.columns))}")
    if table.empty or not features:
        raise InputError(f"{path} has no {'rows' if table.empty else 'column of features'}")
    values = table[features].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    given = table[file.label_column]
    labels = given.astype(str).where(given.notna(), "").to_numpy()
    for row, column in np.argwhere(~np.isfinite(values)):
        raise InputError(
            f"{path}, row {row + 1}: {table[features[column]].iloc[row]!r} in {features[column]!r} is no number"
        )
    for row in np.flatnonzero(table[file.series_column].isna()):
        raise InputError(f"{path}, row {row + 1}: {file.series_column!r} is missing")
    places, names = pd.factorize(table[file.series_column].astype(str))
    grouped = np.argsort(places, kind="stable")  # the rows of a series need not stand together
    series, classes = [], []
    for name, rows in zip(names, np.split(grouped, np.cumsum(np.bincount(places))[:-1]), strict=True):
        missing = [row for row in rows if labels[row] in ("", "nan", "None")]
        if missing:
            raise InputError(f"{path}, row {missing[0] + 1}: series {name!r} has no label")
        other = [row for row in rows if labels[row] != labels[rows[0]]]
        if other:
            raise InputError(f"{path}, row {other[0] + 1}: series {name!r} has a second label, {labels[other[0]]!r}")
        series.append(values[rows])
        classes.append(str(labels[rows[0]]))
    return series, classes


def _from_npz(path: Path) -> tuple[list[Any], list[str]]:
    values, lengths, labels = (map_array(path, name) for name in ("values", "lengths", "labels"))
    if labels.ndim != 1 or len(labels) != lengths.size:
        raise InputError(
            f"{path} has {lengths.size} lengths and labels of shape {list(labels.shape)}; each series needs one"
        )
    values = np.asarray(values, np.float32)  # float32 that is mapped stays mapped
    try:
        series = split_series(values, lengths)
    except ValueError as exc:
        raise InputError(f"{path}: {exc}") from exc
    for start in range(0, len(values), ROWS_AT_ONCE):
        for row, column in np.argwhere(~np.isfinite(values[start : start + ROWS_AT_ONCE])):
            value = values[start + row, column]
            raise InputError(f"{path}, row {start + row} of values, feature {column}: {value} is no number")
    return series, [str(label) for label in labels]


def split_series(values: NDArray[Any], lengths: NDArray[Any]) -> list[NDArray[Any]]:
    """Cut series that lie one after another, [steps of all series, features] or tokens [steps], into one array each.

    Raises:
        ValueError: The lengths are no whole numbers above 0 that sum to the steps.
    """
    whole = lengths.ndim == 1 and lengths.dtype.kind in "iu" and (lengths > 0).all()
    if not whole or values.ndim not in (1, 2) or int(lengths.sum(dtype=object)) != len(values):
        raise ValueError(
            f"values is {list(values.shape)}, with {lengths.size} lengths of {lengths.dtype} that sum to "
            f"{lengths.sum()}; it needs [steps of all series, features] and a whole length for each series"
        )
    return np.split(values, np.cumsum(lengths.astype(np.int64))[:-1])


def _from_ts(path: Path) -> tuple[list[Any], list[str]]:
    from sktime.datasets import load_from_tsfile

    table, labels = load_from_tsfile(str(path), return_y=True, return_data_type="nested_univ")
    series = []
    for number, row in enumerate(table.to_numpy()):
        channels = [np.asarray(channel, np.float32) for channel in row]
        if len({len(channel) for channel in channels}) > 1:
            raise InputError(f"{path}, series {number}: its features differ in length")
        if not np.isfinite(channels).all():
            raise InputError(f"{path}, series {number}: a value is missing or no number")
        series.append(np.stack(channels, axis=1))
    return series, [str(label) for label in labels]
