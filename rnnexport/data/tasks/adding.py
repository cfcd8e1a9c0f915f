"""The adding problem: two numbers, marked far apart in a long series of numbers, are to be added."""

from __future__ import annotations

from functools import partial

import numpy as np

from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.task import Dataset, Split, Task
from rnnexport.errors import InputError

TRAIN, HELD_OUT = 4000, 500
STEPS = 100


def load(seed: int, steps: int) -> Dataset:
    """Draw the series; the test part is the same for every seed."""
    generator = np.random.default_rng([seed, steps])
    test = _draw(np.random.default_rng([2**32 - 1, steps]), HELD_OUT, steps)
    return Dataset(_draw(generator, TRAIN, steps), _draw(generator, HELD_OUT, steps), test)


def _draw(generator: np.random.Generator, count: int, steps: int) -> Split:
    """Feature 0 is uniform in 0 … 1, feature 1 marks one step in each half; the target is the sum of the two."""
    values = np.zeros((count, steps, 2), np.float32)
    values[..., 0] = generator.random((count, steps))
    rows, half = np.arange(count), steps // 2
    first, second = generator.integers(half, size=count), generator.integers(half, steps, size=count)
    values[rows, first, 1] = values[rows, second, 1] = 1
    return Split(list(values), (values[rows, first, 0] + values[rows, second, 0])[:, None])


def make_task(steps: int) -> Task:
    """The task with that many time steps.

    Raises:
        InputError: There are fewer than two.
    """
    if steps < 2:
        raise InputError(f"task 'adding-{steps}': two numbers need at least 2 time steps")
    return Task(
        name="adding" if steps == STEPS else f"adding-{steps}",
        description=f"{TRAIN:,} training and {HELD_OUT} test series of {steps} steps, a number in 0 … 1 and a mark. "
        "One step in each half is marked; the target is the sum of the two numbers there. `adding-N` has N steps.",
        citation="S. Hochreiter, J. Schmidhuber: Long short-term memory. Neural Computation 9 (1997), 1735-1780, "
        "experiment 4, without its negative marks and its varying lengths.",
        licence="None: the data are drawn.",
        metric="mse",
        num_outputs=1,
        defaults=TrainingDefaults(hidden_size=32, epochs=40, batch_size=50, learning_rate=3e-3),
        load=partial(load, steps=steps),
        predicts="values",
        target=0.01,
        stop_at_target=True,
        published="Hochreiter and Schmidhuber (1997, table 7) report success after 74,000 series at 100 steps, 209,000 "
        "at 500 and 853,000 at 1000, on series that are never seen twice.",
    )


TASK = make_task(STEPS)
