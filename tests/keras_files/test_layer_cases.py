"""What Keras's own tests of its recurrent layers try, tried on imported layers: every option, masks, states, wrappers.

Runs in `nox -s keras`, which has Keras; skipped elsewhere.
"""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="needs Keras; run: nox -s keras")

from keras import layers  # noqa: E402

from tests.keras_files.importing import answers  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
BATCH, TIME, FEATURES, UNITS = 3, 6, 4, 2
SERIES = (np.arange(BATCH * TIME * FEATURES).reshape(BATCH, TIME, FEATURES) / 9 - 3).astype(np.float32)
PADDED = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], bool)
GAPS = np.array([[0, 0, 1, 1, 0, 1], [1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]], bool)

LAYERS = {
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "GRU, reset before": lambda units, **options: layers.GRU(units, reset_after=False, **options),
    "SimpleRNN": layers.SimpleRNN,
    "cell": lambda units, **options: layers.RNN(layers.LSTMCell(units), **options),
    "cells": lambda units, **options: layers.RNN(
        [layers.GRUCell(3), layers.SimpleRNNCell(4), layers.LSTMCell(units)], **options
    ),
}
OPTIONS = {
    "default": {},
    "sequences": {"return_sequences": True},
    "states": {"return_state": True},
    "sequences and states": {"return_sequences": True, "return_state": True},
    "backwards": {"go_backwards": True},
    "backwards, sequences and states": {"go_backwards": True, "return_sequences": True, "return_state": True},
    "unrolled": {"unroll": True},
    "zeros where masked": {"zero_output_for_mask": True, "return_sequences": True},
    "zeros where masked, backwards": {"zero_output_for_mask": True, "return_sequences": True, "go_backwards": True},
}
OF_CELLS = {
    "LSTM without bias": lambda: layers.LSTM(UNITS, use_bias=False),
    "GRU without bias": lambda: layers.GRU(UNITS, use_bias=False),
    "forget bias": lambda: layers.LSTM(UNITS, unit_forget_bias=False),
    "other products": lambda: layers.LSTM(UNITS, implementation=1),
    "dropout": lambda: layers.LSTM(UNITS, dropout=0.5, recurrent_dropout=0.5),
    "regularised": lambda: layers.GRU(UNITS, kernel_regularizer="l2", recurrent_constraint="non_neg"),
    "stateful": lambda: layers.LSTM(UNITS, stateful=True),
    "functions": lambda: layers.LSTM(UNITS, activation="relu", recurrent_activation="hard_sigmoid"),
}
WRAPPED = {
    "bidirectional": lambda mode, **o: layers.Bidirectional(layers.GRU(UNITS, **o), merge_mode=mode),
    "two kinds": lambda mode, **o: layers.Bidirectional(
        layers.LSTM(UNITS, **o), merge_mode=mode, backward_layer=layers.GRU(UNITS, go_backwards=True, **o)
    ),
    "cells": lambda mode, **o: layers.Bidirectional(
        layers.RNN([layers.LSTMCell(3), layers.LSTMCell(UNITS)], **o), merge_mode=mode
    ),
}


def hold(layer, *, mask=None, states=(), x=SERIES, fixed_batch=False, lstm_last=False):
    """The layer as a model of its own, imported, gives what Keras's gives."""
    keras.utils.clear_session()
    inputs = [keras.Input(batch_shape=x.shape) if fixed_batch else keras.Input((None, *x.shape[2:]))]
    feeds, arguments = [x], {}
    if mask is not None:
        inputs.append(keras.Input((None,), dtype="bool"))
        feeds.append(mask)
        arguments["mask"] = inputs[-1]
    if states:
        given = [keras.Input((state.shape[1],)) for state in states]
        inputs += given
        feeds += states
        # of an LSTM among cells, the states are a list of their own
        arguments["initial_state"] = [*given[:-2], given[-2:]] if lstm_last else given
    model = keras.Model(inputs, layer(inputs[0], **arguments))
    generator = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(generator.normal(0, 0.5, weight.shape))
    outputs = keras.tree.flatten(model(feeds if len(feeds) > 1 else feeds[0]))  # an LSTM among cells lists its states
    expected = [output.detach().cpu().numpy() for output in outputs]
    for kind, results in answers(model, feeds):
        assert len(results) == len(expected)
        for result, right in zip(results, expected, strict=True):
            np.testing.assert_allclose(result, right, atol=1e-5, err_msg=kind)


@pytest.mark.parametrize("mask", [None, PADDED, GAPS], ids=["all steps", "padded", "gaps"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", LAYERS)
def test_every_way_to_run(kind, options, mask):
    hold(LAYERS[kind](UNITS, **OPTIONS[options]), mask=mask, fixed_batch="unroll" in OPTIONS[options])


@pytest.mark.parametrize("kind", OF_CELLS)
def test_options_of_cells(kind):
    hold(OF_CELLS[kind](), fixed_batch=kind == "stateful")


@pytest.mark.parametrize("mask", [None, GAPS], ids=["all steps", "gaps"])
@pytest.mark.parametrize("kind", LAYERS)
def test_initial_states(kind, mask):
    sizes = {"LSTM": [UNITS] * 2, "cell": [UNITS] * 2, "cells": [3, 4, UNITS, UNITS]}.get(kind, [UNITS])
    states = [np.linspace(-1, 1, BATCH * size, dtype=np.float32).reshape(BATCH, size) for size in sizes]
    for options in ("default", "backwards, sequences and states"):
        hold(LAYERS[kind](UNITS, **OPTIONS[options]), mask=mask, states=states, lstm_last=kind == "cells")


@pytest.mark.parametrize("mask", [None, PADDED, GAPS], ids=["all steps", "padded", "gaps"])
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("kind", WRAPPED)
def test_both_directions(kind, mode, mask):
    hold(WRAPPED[kind](mode), mask=mask)
    hold(WRAPPED[kind](mode, return_sequences=True), mask=mask)


def test_both_directions_with_states():
    states = [np.full((BATCH, UNITS), value, np.float32) for value in (0.5, -1.0, 2.0, 0.0)]
    both = layers.Bidirectional(layers.LSTM(UNITS, return_state=True, return_sequences=True))
    hold(both, states=states)
    hold(layers.Bidirectional(layers.GRU(UNITS, return_state=True)), mask=GAPS)


def test_a_layer_at_each_step():
    x = SERIES.reshape(BATCH, 2, 3, FEATURES)
    hold(layers.TimeDistributed(layers.Dense(2)), mask=PADDED)
    hold(layers.TimeDistributed(layers.LSTM(UNITS)), x=x)
    hold(layers.TimeDistributed(layers.Bidirectional(layers.GRU(UNITS, return_sequences=True))), x=x)


def test_masking_reads_the_steps_that_hold_one_value():
    x = np.where(GAPS[:, :, None], SERIES, np.float32(0.25))
    hold(keras.Sequential([layers.Masking(0.25), layers.GRU(UNITS, return_sequences=True), layers.LSTM(UNITS)]), x=x)
