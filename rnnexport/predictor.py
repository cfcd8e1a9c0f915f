"""A bundle in use: series of any length in, class probabilities out."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.bundle import Bundle, load_bundle
from rnnexport.engines import get_engine
from rnnexport.errors import InputError
from rnnexport.runtime import load_definition
from rnnexport.tasks.names import encode
from rnnexport.tasks.padding import pad_series

Series = NDArray[Any]
SERIES_COLUMN = "series"


class Prediction(BaseModel):
    """What a model says of one series."""

    name: str
    class_name: str | None = None
    probabilities: list[float] = []
    steps: list[str] = []
    """The class of each time step, where the model names one a step."""
    values: list[float] = []
    """Where the model forecasts values."""


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
        self.vocabulary = bundle.manifest.vocabulary
        self._features, self._lengths = _input_names(bundle)
        self._shape = next(info.shape[2:] for info in bundle.manifest.inputs if info.name == self._features)
        self._per_step = len(bundle.manifest.outputs[0].shape) == 3
        self._session = get_engine(definition.engine).load(bundle.file_for(definition), definition)

    def __call__(self, series: Sequence[Series]) -> NDArray[np.float64]:
        """Return the class probabilities [series, classes] of series, each [time, features] of any length ≥ 1.

        A model of values gives them as [series, outputs]; one with an answer a step gives [series, steps, classes].

        Raises:
            InputError: A series is empty, has another number of features, or holds NaN.
        """
        if not series:
            return np.zeros((0, len(self.class_names)))
        for index, values in enumerate(series):
            self._check(str(index), values)
        padded, lengths = pad_series(series)
        (outputs,) = self._session.run({self._features: padded, self._lengths: lengths}).values()
        return class_probabilities(outputs) if self.class_names else np.asarray(outputs, np.float64)

    def predict(self, series: dict[str, Series]) -> Predictions:
        """Predict named series, such as `read_series` gives."""
        for name, values in series.items():
            self._check(name, values)
        rows = self(list(series.values()))
        return Predictions(
            class_names=self.class_names,
            series=[self._prediction(name, row[: len(series[name])]) for name, row in zip(series, rows, strict=True)]
            if self._per_step
            else [self._prediction(name, row) for name, row in zip(series, rows, strict=True)],
        )

    def _prediction(self, name: str, row: NDArray[np.float64]) -> Prediction:
        if not self.class_names:
            return Prediction(name=name, values=row.tolist())
        if self._per_step:
            return Prediction(name=name, steps=[self.class_names[i] for i in row.argmax(axis=1)])
        return Prediction(name=name, class_name=self.class_names[int(np.argmax(row))], probabilities=row.tolist())

    def _check(self, name: str, values: NDArray[Any]) -> None:
        if values.ndim == 0 or values.shape[1:] != self._shape or len(values) == 0:
            wanted = ", ".join(["time", *map(str, self._shape)])
            raise InputError(
                f"series {name!r} has shape {list(values.shape)}; the model takes [{wanted}] with time ≥ 1"
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
    """Softmax over [..., classes]; for a single logit, the sigmoid and its complement: [1 - p, p]."""
    wide = logits.astype(np.float64)
    if wide.shape[-1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=-1)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def read_series(path: Path, vocabulary: tuple[str, ...] = ()) -> dict[str, Series]:
    """Read named series from a .npz (one array [time, features] each) or a .csv (one row per time step).

    With a vocabulary, from a .txt with a text on each line, whose characters become tokens.

    A CSV has a header; a column `series` tells several series apart, all others are features.

    Raises:
        InputError: The file is missing, of another kind, or malformed; the message names the place.
    """
    readers: dict[str, Callable[[Path], dict[str, Series]]] = {".npz": _read_npz, ".csv": _read_csv}
    if vocabulary:
        readers = {".txt": partial(_read_text, vocabulary=vocabulary)}
    if path.suffix not in readers:
        raise InputError(f"{path} is {'no .txt with a text on each line' if vocabulary else 'neither .npz nor .csv'}")
    try:
        return readers[path.suffix](path)
    except FileNotFoundError as exc:
        raise InputError(f"{path} does not exist") from exc
    except (ValueError, OSError, EOFError) as exc:
        raise InputError(f"{path} cannot be read: {exc}") from exc


def _read_text(path: Path, vocabulary: tuple[str, ...]) -> dict[str, Series]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    try:
        return {line: encode(line, vocabulary) for line in lines if line}
    except InputError as exc:
        raise InputError(f"{path}: {exc}") from exc


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
    if set(names) not in ({"features", "lengths"}, {"indices", "lengths"}) or not bundle.manifest.metric:
        raise InputError(f"bundle {str(bundle.path)!r} is no classifier of series, so it has no predictions")
    return names.get("features") or names["indices"], names["lengths"]
