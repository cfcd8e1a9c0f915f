"""PLAID: which of eleven kinds of appliance is drawing this current."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.task import Dataset, Split, Task, split_off_validation
from rnnexport.errors import InputError

FRAME = 10
"""Samples that make one time step."""
VALIDATION_SHARE = 0.2
APPLIANCES = (
    "air conditioner",
    "compact fluorescent lamp",
    "fan",
    "fridge",
    "hairdryer",
    "heater",
    "incandescent light bulb",
    "laptop",
    "microwave",
    "vacuum",
    "washing machine",
)


def load(seed: int) -> Dataset:
    """Read the data from the sktime package; a fifth of the training part, by seed, becomes the validation part.

    Raises:
        InputError: sktime is not installed.
    """
    train, validation = split_off_validation(_read("train"), VALIDATION_SHARE, seed)
    return Dataset(train, validation, _read("test"), APPLIANCES)


def _read(part: Literal["train", "test"]) -> Split:
    try:
        from sktime.datasets import load_plaid
    except ImportError as exc:
        raise InputError("task 'plaid' needs sktime; run: pip install \"rnnexport[train]\"") from exc
    table, labels = load_plaid(split=part, return_X_y=True, return_type="nested_univ")
    series = [_framed(np.asarray(values, np.float32)) for values in table.iloc[:, 0]]
    return Split(series, labels.astype(np.int64))


def _framed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[samples] to [samples // FRAME, FRAME]; the samples that do not fill a frame are left out."""
    return values[: len(values) // FRAME * FRAME].reshape(-1, FRAME)


TASK = Task(
    name="plaid",
    description=f"537 training and 537 test series of the current that an appliance draws, {len(APPLIANCES)} kinds. "
    f"Of the 100 to 1344 samples at 30 kHz, {FRAME} make one step, as its features, since over a thousand steps the "
    "gradient fades and training takes ten times as long. No sample is averaged away.",
    citation="J. Gao, S. Giri, E. C. Kara, M. Berges: PLAID: a public dataset of high-resolution electrical appliance "
    "measurements for load identification research. BuildSys 2014, 198-199.",
    licence="CC BY 4.0 (PLAID; in the UCR time series archive and the package sktime)",
    metric="accuracy",
    num_outputs=len(APPLIANCES),
    defaults=TrainingDefaults(
        hidden_size=64, epochs=80, batch_size=16, learning_rate=3e-3, dropout=0.2, weight_decay=0.05, patience=20
    ),
    load=load,
    target=0.7,
    published="The nearest neighbour by dynamic time warping reaches 83.6 %, by Euclidean distance 52.3 %, on the same "
    "split (H. A. Dau and others: The UCR time series archive, 2018, summary of data sets).",
)
