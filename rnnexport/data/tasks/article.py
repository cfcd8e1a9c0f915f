"""The small example that introductions to LSTM and GRU train: random series with random labels."""

from __future__ import annotations

import numpy as np

from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.task import Dataset, Split, Task

SERIES, TIME_STEPS, FEATURES = 1000, 10, 64


def load(seed: int) -> Dataset:
    """Draw the training series, and a tenth as many each for validation and test."""
    generator = np.random.default_rng(seed)
    return Dataset(_draw(generator, SERIES), _draw(generator, SERIES // 10), _draw(generator, SERIES // 10), ("0", "1"))


def _draw(generator: np.random.Generator, count: int) -> Split:
    values = generator.random((count, TIME_STEPS, FEATURES), dtype=np.float32)
    return Split(list(values), generator.integers(2, size=count))


TASK = Task(
    name="article",
    description="1,000 random series of 10 steps and 64 features with random binary labels. There is nothing to learn: "
    "random labels can only be memorised, so test accuracy stays near one half whatever the model.",
    citation="The shape of the example that introductory articles on LSTM and GRU train in Keras.",
    licence="None: the data are drawn.",
    metric="accuracy",
    num_outputs=1,
    defaults=TrainingDefaults(hidden_size=32, epochs=10, batch_size=32, learning_rate=1e-3),
    load=load,
)
