"""Write the small Keras models that the tests import: files, inputs, and what Keras answers.

Usage: python tools/write_keras_files.py tests/keras_files/models.tar.xz

Run it where Keras is: with Keras 3 (`KERAS_BACKEND=torch`) and with Keras 2.15 on TensorFlow. Each run replaces the
models of its own version.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

BATCH, TIME, FEATURES, TOKENS = 5, 7, 3, 6
MASK = 0.5


def article() -> Any:
    """One layer and a head, for a number of steps that the file names."""
    return keras.Sequential([keras.Input((TIME, FEATURES), name="series"), layers.LSTM(4), layers.Dense(1)])


def masked_lstm() -> Any:
    """Masks in all places, two layers from the end."""
    return keras.Sequential(
        [
            keras.Input((None, FEATURES), name="series"),
            layers.Masking(MASK),
            layers.LSTM(3, return_sequences=True, go_backwards=True),
            layers.Dropout(0.5),
            layers.LSTM(2, go_backwards=True),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def three_cells() -> Any:
    """Both forms of the GRU, a SimpleRNN, and an activation that no operator has, on one masked series."""
    series = keras.Input((None, FEATURES), name="series")
    x = layers.Masking(MASK)(series)
    parts = [
        layers.GRU(2)(x),
        layers.GRU(3, reset_after=False, return_sequences=True)(x),
        layers.SimpleRNN(2, activation="relu", use_bias=False)(x),
        layers.LSTM(2, recurrent_activation="hard_sigmoid", activation="softsign")(x),
    ]
    parts[1] = layers.GlobalAveragePooling1D()(parts[1])
    return keras.Model(series, layers.Concatenate()(parts))


def both_directions() -> Any:
    """Masked tokens through two bidirectional layers, one of two kinds."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(TOKENS, 3, mask_zero=True)(tokens)
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode="sum")(x)
    other = layers.LSTM(2, return_sequences=True, go_backwards=True)
    x = layers.Bidirectional(layers.GRU(2, return_sequences=True), backward_layer=other)(x)
    return keras.Model(tokens, layers.Bidirectional(layers.GRU(2))(x))


def encoder_decoder() -> Any:
    """Cells one upon another, and states that one layer hands to another."""
    series = keras.Input((None, FEATURES), name="series")
    x = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True)(series)
    _, h, c = layers.LSTM(4, return_state=True, name="encoder")(x)
    y = layers.LSTM(4, return_sequences=True, name="decoder")(x, initial_state=[h, c])
    y = layers.TimeDistributed(layers.Dense(2, activation="tanh"))(y)
    return keras.Model(series, [layers.Dense(1)(y), h])


def nested() -> Any:
    """A model within a model, whose first Dense is not trained, and a layer that is called twice."""
    inner = keras.Sequential(
        [
            keras.Input((TIME, FEATURES)),
            layers.Dense(4, trainable=False),
            layers.BatchNormalization(),
            layers.Dense(4, activation="elu"),
            layers.Conv1D(FEATURES, 3, padding="causal", dilation_rate=2),
        ],
        name="inner",
    )
    series = keras.Input((TIME, FEATURES), name="series")
    gru = layers.GRU(FEATURES, return_sequences=True)
    x = gru(layers.Add()([inner(series), gru(series)]))
    x = layers.MaxPooling1D(2)(layers.LayerNormalization()(x))
    return keras.Model(series, layers.Dense(2)(layers.Flatten()(x)))


def masked_attention() -> Any:
    """Every kind of attention over masked steps, with weights given out, and what else joins two masked series."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(TOKENS, 4, mask_zero=True)(tokens)
    a, b = layers.GRU(4, return_sequences=True)(x), layers.LSTM(4, return_sequences=True)(x)
    y = layers.MultiHeadAttention(2, 3)(a, b)
    z, weights = layers.Attention(use_scale=True)([a, b], return_attention_scores=True)
    parts = layers.Concatenate()([y, z, layers.Maximum()([a, b]), layers.AdditiveAttention()([b, a])])
    scores = layers.Softmax(axis=1)(layers.Dense(1)(layers.Conv1D(2, 1)(parts)))
    return keras.Model(tokens, [layers.Dot(axes=1)([scores, parts]), layers.LSTM(2)(parts), weights])


def words_in_sentences() -> Any:
    """Masked words of each sentence, each read by a layer of its own steps."""
    tokens = keras.Input((3, TIME), dtype="int32", name="tokens")
    words = keras.Input((TIME,), dtype="int32")
    x = layers.GRU(3)(layers.Embedding(TOKENS, 3, mask_zero=True)(words))
    return keras.Model(tokens, layers.LSTM(2)(layers.TimeDistributed(keras.Model(words, x))(tokens)))


def normalized() -> Any:
    """A mask before layers that pass it on in Keras 3 only, with statistics seen and given, and the way back."""
    series = keras.Input((None, FEATURES), name="series")
    x = layers.Rescaling([0.5, 1.0, 2.0], offset=0.1)(layers.Masking(MASK)(series))
    x = layers.GRU(3, return_sequences=True)(layers.Normalization()(x))
    x = layers.Normalization(mean=[0.1, 0.2], variance=[0.5, 2.0])(layers.LSTM(2)(x))
    return keras.Model(series, layers.Normalization(axis=None, invert=True)(x))


def time_before_batch() -> Any:
    """An option that Keras 3 dropped."""
    series = keras.Input((None, FEATURES), name="series")
    x = layers.LSTM(3, time_major=True, return_sequences=True)(layers.Masking(MASK)(series))
    x = layers.Bidirectional(layers.GRU(2, time_major=True, return_sequences=True))(x)
    last = layers.SimpleRNN(2, time_major=True, go_backwards=True)(x)
    return keras.Model(series, [last, layers.GRU(2, time_major=True, return_sequences=True)(x)])


def of_cudnn(lstm: Any = None, gru: Any = None) -> Any:
    """Layers that Keras 2 had for GPUs; they run nowhere else, so those that Keras reads their weights into answer."""
    if lstm is None:
        lstm, gru = cudnn_lstm.CuDNNLSTM, cudnn_gru.CuDNNGRU
    series = keras.Input((TIME, FEATURES), name="series")
    x = layers.Bidirectional(gru(2, return_sequences=True, name="gru"), name="both")(
        lstm(4, return_sequences=True, name="lstm")(series)
    )
    return keras.Model(series, layers.Dense(1, name="dense")(gru(3, go_backwards=True, name="last")(x)))


MODELS: tuple[Callable[[], Any], ...] = (
    article,
    masked_lstm,
    three_cells,
    both_directions,
    encoder_decoder,
    nested,
    masked_attention,
    words_in_sentences,
    normalized,
)
if keras.__version__.startswith("2."):
    from keras.src.layers.rnn import cudnn_gru, cudnn_lstm

    MODELS += (time_before_batch, of_cudnn)


def example(model: Any) -> np.ndarray:
    """An input with masked steps at the end, in the middle, in front, and a row of nothing else."""
    generator = np.random.default_rng(0)
    masked = np.zeros((BATCH, TIME), bool)
    masked[0, 4:], masked[1, 2:4], masked[2, :3], masked[3] = True, True, True, True
    if "int" in str(model.inputs[0].dtype):
        tokens = np.where(masked, 0, generator.integers(1, TOKENS, (BATCH, TIME))).astype(np.int32)
        sentences = len(model.inputs[0].shape) == 3
        return np.stack([tokens, tokens[::-1], tokens + (tokens == 0)], axis=1) if sentences else tokens
    x = generator.normal(size=(BATCH, TIME, FEATURES))
    x[masked] = MASK
    return x.astype(np.float32)


def main(archive: Path) -> None:
    """Write all models of this Keras."""
    warnings.simplefilter("ignore")
    version = "keras" + keras.__version__.split(".")[0]
    kept = {}
    if archive.exists():
        with tarfile.open(archive) as old:
            members = [each for each in old if each.isfile() and not each.name.startswith(version)]
            kept = {each.name: old.extractfile(each).read() for each in members}
    for make in MODELS:
        keras.backend.clear_session()
        model, generator = make(), np.random.default_rng(1)
        model.set_weights([np.abs(generator.normal(0, 0.6, w.shape)) if "variance" in w.name else
                           generator.normal(0, 0.6, w.shape) for w in model.weights])  # fmt: skip
        for layer in model.layers:
            if isinstance(layer, layers.Normalization):
                layer.finalize_state()
        x = example(model)
        with tempfile.TemporaryDirectory() as folder:
            for suffix in (".keras", ".h5"):
                path = Path(folder) / f"model{suffix}"
                model.save(path)
                kept[f"{version}/{make.__name__}{suffix}"] = path.read_bytes()
            if make is of_cudnn:
                model = of_cudnn(layers.LSTM, layers.GRU)
                model.load_weights(path)
        answers = model.predict_on_batch(x)
        answers = answers if isinstance(answers, list) else [answers]
        file = io.BytesIO()
        np.savez(file, input=x, **{f"output_{n}": y for n, y in enumerate(answers)})
        kept[f"{version}/{make.__name__}.npz"] = file.getvalue()
    with tarfile.open(archive, "w:xz") as new:
        for name, content in sorted(kept.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    print(f"{archive}: {archive.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
