"""JapaneseVowels: which of nine speakers said /ae/."""

from __future__ import annotations

from typing import Literal

import numpy as np

from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.task import Dataset, Split, Task, split_off_validation
from rnnexport.errors import InputError

VALIDATION_SHARE = 0.2


def load(seed: int) -> Dataset:
    """Read the data from the sktime package; a fifth of the training part, by seed, becomes the validation part.

    Raises:
        InputError: sktime is not installed.
    """
    train, validation = split_off_validation(_read("train"), VALIDATION_SHARE, seed)
    return Dataset(train, validation, _read("test"), tuple(f"speaker {number}" for number in range(1, 10)))


def _read(part: Literal["train", "test"]) -> Split:
    try:
        from sktime.datasets import load_japanese_vowels
    except ImportError as exc:
        raise InputError("task 'vowels' needs sktime; run: pip install \"rnnexport[train]\"") from exc
    table, labels = load_japanese_vowels(split=part, return_X_y=True, return_type="nested_univ")
    series = [np.stack([channel.to_numpy() for channel in row], axis=1).astype(np.float32) for row in table.to_numpy()]
    return Split(series, labels.astype(np.int64) - 1)


TASK = Task(
    name="vowels",
    description="270 training and 370 test series of 12 linear prediction cepstrum coefficients, 7 to 29 steps long, "
    "of nine male speakers saying /ae/; the class is the speaker.",
    citation="M. Kudo, J. Toyama, M. Shimbo: Multidimensional curve classification using passing-through regions. "
    "Pattern Recognition Letters 20 (1999), 1103-1111.",
    licence="CC BY 4.0 (UCI Machine Learning Repository, https://doi.org/10.24432/C5NS47; in the package sktime). The "
    "note that came with the data asks to be told of publications, and for permission before commercial use.",
    metric="accuracy",
    num_outputs=9,
    defaults=TrainingDefaults(
        hidden_size=64,
        epochs=100,
        batch_size=16,
        learning_rate=3e-3,
        dropout=0.5,
        weight_decay=0.1,
        input_noise=0.3,
        patience=25,
    ),
    load=load,
    target=0.941,
    published="Kudo et al. (1999) report 94.1 % on the same split, and 96.2 % for a five-state hidden Markov model.",
)
