"""Electrocardiogram: at each step, is this the beat of a heart? For models that answer while the series still comes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.task import Dataset, Split, Task
from rnnexport.errors import InputError

WINDOW = 250
BEAT = 36
"""Steps that a beat counts for from its peak on: a tenth of a second."""
SHARES = (0.6, 0.8)
"""Where validation and test begin."""


def load(seed: int) -> Dataset:
    """Read the record from the sktime package; the split is by time, so the seed does not change it.

    Raises:
        InputError: sktime is not installed.
    """
    try:
        import sktime.datasets
        from scipy.signal import find_peaks
    except ImportError as exc:
        raise InputError("task 'ecg' needs sktime; run: pip install \"rnnexport[train]\"") from exc
    path = Path(sktime.datasets.__file__).parent / "data" / "mitdb" / "mitdb.csv"
    signal = np.loadtxt(path, delimiter=",", skiprows=1, usecols=0, dtype=np.float32)
    height = 0.5 * float(np.percentile(signal, 99.5) - np.median(signal))
    peaks, _ = find_peaks(signal, distance=BEAT * 5, prominence=height)
    steps = np.arange(len(signal))
    beats = ((steps[:, None] >= peaks) & (steps[:, None] < peaks + BEAT)).any(axis=1).astype(np.int64)
    cuts = [0, *(int(share * len(signal)) for share in SHARES), len(signal)]
    train, validation, test = (_windows(signal[a:b], beats[a:b]) for a, b in pairwise(cuts))
    return Dataset(train, validation, test, class_names=("rest", "beat"))


def _windows(signal: NDArray[np.float32], labels: NDArray[np.int64]) -> Split:
    starts = range(0, len(signal) - WINDOW + 1, WINDOW)
    return Split([signal[i : i + WINDOW, None] for i in starts], [labels[i : i + WINDOW] for i in starts])


TASK = Task(
    name="ecg",
    description=f"20 seconds of an electrocardiogram at 360 Hz, in windows of {WINDOW} steps; the label of a step is "
    "whether a heartbeat's peak lies less than a tenth of a second back. The peaks were found by a rule that sees the "
    "whole record. (The labels that come with the record mark one single event, which no split by time can share.)",
    citation="G. B. Moody, R. G. Mark: The impact of the MIT-BIH arrhythmia database. IEEE Engineering in Medicine and "
    "Biology 20 (2001), 45-50.",
    licence="ODC-By 1.0 (MIT-BIH Arrhythmia Database, https://doi.org/10.13026/C2F305, in the package sktime)",
    metric="accuracy",
    num_outputs=2,
    defaults=TrainingDefaults(hidden_size=32, epochs=100, batch_size=4, learning_rate=3e-3, patience=20),
    load=load,
    predicts="class per step",
    target=0.97,
    published="None for these labels.",
)
