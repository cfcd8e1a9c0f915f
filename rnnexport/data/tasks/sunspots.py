"""Sunspots: next year's number, from those of the years before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.metrics import rmse
from rnnexport.data.task import Dataset, Split, Task
from rnnexport.errors import InputError

WINDOW = 24
CYCLE = 11
FIRST_VALIDATION, FIRST_TEST, END = 1890, 1921, 1956


def load(seed: int) -> Dataset:
    """Read the yearly numbers from statsmodels; the split is by time, so the seed does not change it.

    Raises:
        InputError: statsmodels is not installed.
    """
    try:
        from statsmodels.datasets import sunspots
    except ImportError as exc:
        raise InputError("task 'sunspots' needs statsmodels; run: pip install \"rnnexport[train]\"") from exc
    table = sunspots.load_pandas().data
    years, numbers = table["YEAR"].to_numpy().astype(int), table["SUNACTIVITY"].to_numpy().astype(np.float32)
    first = int(years[0])
    train, validation, test = (
        windows(numbers, WINDOW, range(start - first, end - first))
        for start, end in ((first + WINDOW, FIRST_VALIDATION), (FIRST_VALIDATION, FIRST_TEST), (FIRST_TEST, END))
    )
    return Dataset(
        train, validation, test, baselines=naive_forecasts(numbers, range(FIRST_TEST - first, END - first), CYCLE)
    )


def windows(values: NDArray[np.float32], window: int, targets: range) -> Split:
    """The `window` values before each of `targets`, indices into values [time], as a series; the label is the value.

    Raises:
        InputError: There are too few values before the first target.
    """
    if targets.start < window:
        raise InputError(f"a window of {window} steps does not fit before step {targets.start}; take a shorter window")
    return Split([values[i - window : i, None] for i in targets], values[targets.start : targets.stop, None])


def naive_forecasts(values: NDArray[np.float32], targets: range, season: int) -> dict[str, float]:
    """RMSE of repeating the last value, and of repeating that of one season ago."""
    actual = values[targets.start : targets.stop]
    return {
        name: rmse(values[targets.start - lag : targets.stop - lag], actual)
        for name, lag in (("naive", 1), (f"seasonal naive ({season})", season))
    }


TASK = Task(
    name="sunspots",
    description=f"The sunspot number of a year from those of the {WINDOW} years before: trained on the years to "
    f"{FIRST_VALIDATION - 1}, chosen on {FIRST_VALIDATION} to {FIRST_TEST - 1}, tested on {FIRST_TEST} to {END - 1}. "
    "Mean and deviation are those of the training part.",
    citation="A. S. Weigend, B. A. Huberman, D. E. Rumelhart: Predicting the future: a connectionist approach. "
    "International ResultsLog of Neural Systems 1 (1990), 193-209, whose test years these are.",
    licence="Public domain as the package statsmodels states, which has the numbers from NOAA's national geophysical "
    "data center (counted by the Royal Observatory of Belgium, SIDC).",
    metric="rmse",
    num_outputs=1,
    defaults=TrainingDefaults(
        hidden_size=32, epochs=200, batch_size=16, learning_rate=3e-3, weight_decay=0.01, dropout=0.2, patience=40
    ),
    load=load,
    predicts="values",
    target=20.0,
    published="Weigend et al. (1990) report 0.086 of the series' variance of 1535 on the same test years, which is an "
    "RMSE of 11.5, with a network that reads 12 years; they also trained on 1890 to 1920.",
)
