"""The copy task: a few symbols, a long pause, and then the symbols are to be named in order."""

from __future__ import annotations

from functools import partial

import numpy as np

from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.task import IGNORED, Dataset, Split, Task
from rnnexport.errors import InputError

TRAIN, HELD_OUT = 4000, 250
STEPS, SYMBOLS, COPIED = 50, 8, 5
PAUSE, GO = SYMBOLS, SYMBOLS + 1


def load(seed: int, steps: int) -> Dataset:
    """Draw the series; the test part is the same for every seed."""
    generator = np.random.default_rng([seed, steps])
    test = _draw(np.random.default_rng([2**32 - 1, steps]), HELD_OUT, steps)
    names = tuple("abcdefgh")
    train, validation = _draw(generator, TRAIN, steps), _draw(generator, HELD_OUT, steps)
    return Dataset(train, validation, test, names, vocabulary=(*names, "_", ">"))


def _draw(generator: np.random.Generator, count: int, steps: int) -> Split:
    """Symbols, pauses of which the last is the sign to go, and as many pauses as symbols, when the answer is due."""
    symbols = generator.integers(SYMBOLS, size=(count, COPIED))
    series = np.full((count, steps + 2 * COPIED), PAUSE, np.int64)
    series[:, :COPIED] = symbols
    series[:, -COPIED - 1] = GO
    labels = np.full_like(series, IGNORED)
    labels[:, -COPIED:] = symbols
    return Split(list(series), list(labels))


def make_task(steps: int) -> Task:
    """The task with a pause of that many time steps.

    Raises:
        InputError: There is none.
    """
    if steps < 1:
        raise InputError(f"task 'copy-{steps}': the pause needs at least 1 time step")
    return Task(
        name="copy" if steps == STEPS else f"copy-{steps}",
        description=f"{TRAIN:,} training and {HELD_OUT} test series: {COPIED} of {SYMBOLS} symbols, a pause of {steps} "
        "steps, then the symbols are named in order. Only those last steps count. `copy-N` pauses for N steps.",
        citation="After S. Hochreiter, J. Schmidhuber: Long short-term memory. Neural Computation 9 (1997), 1735-1780; "
        "in the form of M. Arjovsky, A. Shah, Y. Bengio: Unitary evolution recurrent neural networks, ICML 2016, with "
        f"{COPIED} symbols in place of ten, so that a small model can learn it within minutes.",
        licence="None: the data are drawn.",
        metric="accuracy",
        num_outputs=SYMBOLS,
        defaults=TrainingDefaults(hidden_size=64, epochs=40, batch_size=50, learning_rate=3e-3, embedding_size=10),
        load=partial(load, steps=steps),
        predicts="class per step",
        target=0.99,
        stop_at_target=True,
        published="Arjovsky et al. (2016) report of ten symbols that an LSTM hardly improves on guessing at pauses of "
        "100 steps and more; they give loss curves, not an accuracy.",
    )


TASK = make_task(STEPS)
