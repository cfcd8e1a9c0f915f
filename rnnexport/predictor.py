"""A bundle in use: series of any length in, class probabilities out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.bundle import Bundle, load_bundle
from rnnexport.engines import get_engine
from rnnexport.errors import InputError
from rnnexport.runtime import load_definition
from rnnexport.tasks.padding import pad_series

Series = NDArray[np.float32]
SERIES_COLUMN = "series"


class Prediction(BaseModel):
    """One series' class."""

    name: str
    class_name: str
    probabilities: list[float]


class Predictions(BaseModel):
    """The classes of all series of a file."""

    class_names: tuple[str, ...]
    series: list[Prediction]


class Predictor:
    """Runs a bundle in one runtime, in this process."""

    def __init__(self, bundle: Bundle, runtime: str = "ort-cpu") -> None:
        """Load the bundle's graph into `runtime`.

        Raises:
            RuntimeUnavailableError: The runtime does not work on this machine.
        """
        definition = load_definition(runtime)
        self.class_names = bundle.manifest.class_names
        self._features, self._lengths = _input_names(bundle)
        self._input_size = next(info.shape[-1] for info in bundle.manifest.inputs if info.role == "features")
        self._session = get_engine(definition.engine).load(bundle.file_for(definition), definition)

    def __call__(self, series: Sequence[Series]) -> NDArray[np.float64]:
        """Return the class probabilities [series, classes] of series, each [time, features] of any length ≥ 1.

        Raises:
            InputError: A series is empty, has another number of features, or holds NaN.
        """
        if not series:
            return np.zeros((0, len(self.class_names)))
        for index, values in enumerate(series):
            self._check(str(index), values)
        padded, lengths = pad_series(series)
        (logits,) = self._session.run({self._features: padded, self._lengths: lengths}).values()
        return class_probabilities(logits)

    def predict(self, series: dict[str, Series]) -> Predictions:
        """Predict named series, such as `read_series` gives."""
        for name, values in series.items():
            self._check(name, values)
        probabilities = self(list(series.values()))
        return Predictions(
            class_names=self.class_names,
            series=[
                Prediction(name=name, class_name=self.class_names[int(np.argmax(row))], probabilities=row.tolist())
                for name, row in zip(series, probabilities, strict=True)
            ],
        )

    def _check(self, name: str, values: NDArray[Any]) -> None:
        if values.ndim != 2 or values.shape[1] != self._input_size or len(values) == 0:
            raise InputError(
                f"series {name!r} has shape {list(values.shape)}; "
                f"the model takes [time, {self._input_size}] with time ≥ 1"
            )
        if not np.isfinite(values).all():
            step, feature = np.argwhere(~np.isfinite(values))[0]
            raise InputError(
                f"series {name!r} is not finite at time step {step}, feature {feature}; fill or cut it first"
            )


def load(path: str | Path, runtime: str = "ort-cpu") -> Predictor:
    """Return a predictor for the bundle at `path`.

    Raises:
        BundleError: The bundle is missing or damaged, or is no classifier of series.
    """
    return Predictor(load_bundle(Path(path)), runtime)


def class_probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax over [batch, classes]; for a single logit, the sigmoid and its complement: [1 - p, p]."""
    wide = logits.astype(np.float64)
    if wide.shape[1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def read_series(path: Path) -> dict[str, Series]:
    """Read named series from a .npz (one array [time, features] each) or a .csv (one row per time step).

    A CSV has a header; a column `series` tells several series apart, all others are features.

    Raises:
        InputError: The file is missing, of another kind, or malformed; the message names the place.
    """
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.suffix not in readers:
        raise InputError(f"{path} is neither .npz nor .csv")
    try:
        return readers[path.suffix](path)
    except FileNotFoundError as exc:
        raise InputError(f"{path} does not exist") from exc
    except (ValueError, OSError, EOFError) as exc:
        raise InputError(f"{path} cannot be read: {exc}") from exc


def _read_npz(path: Path) -> dict[str, Series]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: np.asarray(arrays[name], np.float32) for name in arrays.files}


def _read_csv(path: Path) -> dict[str, Series]:
    rows: dict[str, list[list[float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            name = row.pop(SERIES_COLUMN, path.stem)
            try:
                rows.setdefault(name, []).append([float(value) for value in row.values()])
            except (TypeError, ValueError) as exc:
                raise InputError(f"{path}, line {line}: not a number in each of the columns {list(row)}") from exc
    if not rows:
        raise InputError(f"{path} has no rows below its header")
    return {name: np.asarray(values, np.float32) for name, values in rows.items()}


def _input_names(bundle: Bundle) -> tuple[str, str]:
    names = {info.role: info.name for info in bundle.manifest.inputs}
    if set(names) != {"features", "lengths"} or not bundle.manifest.class_names:
        raise InputError(f"bundle {str(bundle.path)!r} is no classifier of series, so it has no predictions")
    return names["features"], names["lengths"]
