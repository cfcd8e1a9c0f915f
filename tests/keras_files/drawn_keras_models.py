"""Keras models that hypothesis draws: a plan of plain data, and the model that Keras builds from it."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

CELL_ACTIVATIONS = ["tanh"] * 6 + [
    "relu",
    "sigmoid",
    "linear",
    "softsign",
    "elu",
    "hard_sigmoid",
    "silu",
    "selu",
    "gelu",
    "softplus",
    "softmax",
]
GATES = ["sigmoid"] * 4 + ["hard_sigmoid", "tanh", "relu", "softmax"]
ACTIVATIONS = [
    "linear",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "softplus",
    "softsign",
    "softmax",
    "log_softmax",
    "silu",
    "tanh",
    "tanh_shrink",
    "sigmoid",
    "log_sigmoid",
    "exponential",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "mish",
    "celu",
    "hard_shrink",
    "soft_shrink",
    "squareplus",
    "sparse_plus",
    "sparse_sigmoid",
]
MERGES = ["Add", "Subtract", "Multiply", "Average", "Concatenate", "Maximum", "Minimum"]
FUNCTIONS = ["abs", "exp", "negative", "relu", "sigmoid", "silu", "softplus", "square", "tanh"]
REDUCTIONS = ["mean", "sum", "max", "min"]
SIZES = st.integers(1, 6)


@st.composite
def cells(draw, kind=None):
    kind = kind or draw(st.sampled_from(["LSTM", "GRU", "SimpleRNN"]))
    options = {
        "units": draw(SIZES),
        "activation": draw(st.sampled_from(CELL_ACTIVATIONS)),
        "use_bias": draw(st.booleans()),
    }
    if kind != "SimpleRNN":
        options["recurrent_activation"] = draw(st.sampled_from(GATES))
        options["recurrent_dropout"] = draw(st.sampled_from([0.0, 0.0, 0.2]))
    if kind == "GRU":
        options["reset_after"] = draw(st.booleans())
    return kind, options


@st.composite
def recurrent(draw, *, sequences):
    """A recurrent layer, whatever is around it."""
    common = {"return_sequences": sequences, "go_backwards": draw(st.sampled_from([False, False, True]))}
    form = draw(st.sampled_from(["layer", "layer", "bidirectional", "bidirectional", "cells"]))
    if form == "layer":
        kind, options = draw(cells())
        common["zero_output_for_mask"] = draw(st.sampled_from([False, False, True]))
        return "recurrent", kind, {**options, **common}, draw(st.booleans()) and not sequences
    if form == "bidirectional":
        common["go_backwards"] = False
        kind, options = draw(cells())
        merge_mode = draw(st.sampled_from(["concat", "concat", "sum", "mul", "ave"]))
        other = None
        if draw(st.sampled_from([True, False, False])):
            other_kind, other_options = draw(cells())
            other_options["units"] = options["units"]
            other = other_kind, {**other_options, **common, "go_backwards": True}
        return "bidirectional", kind, {**options, **common}, merge_mode, other
    return "cells", draw(st.lists(cells(), min_size=1, max_size=3)), common


def sequence_layers():
    """Layers from [batch, time, features] to the same."""
    return st.one_of(
        recurrent(sequences=True),
        recurrent(sequences=True),
        st.tuples(
            st.just("Dense"), st.fixed_dictionaries({"units": SIZES, "activation": st.sampled_from(ACTIVATIONS)})
        ),
        st.tuples(st.just("TimeDistributed"), st.sampled_from(["Dense", "Sequential", "LayerNormalization"]), SIZES),
        st.tuples(st.just("Dropout"), st.just({"rate": 0.3})),
        st.tuples(st.just("SpatialDropout1D"), st.just({"rate": 0.3})),
        st.tuples(st.just("GaussianNoise"), st.just({"stddev": 0.3})),
        st.tuples(st.just("Activation"), st.fixed_dictionaries({"activation": st.sampled_from(ACTIVATIONS)})),
        st.tuples(
            st.just("ReLU"),
            st.fixed_dictionaries(
                {
                    "max_value": st.sampled_from([None, 1.5]),
                    "negative_slope": st.sampled_from([0.0, 0.3]),
                    "threshold": st.sampled_from([0.0, 0.4]),
                }
            ),
        ),
        st.tuples(st.just("LeakyReLU"), st.just({})),
        st.tuples(st.just("ELU"), st.just({"alpha": 0.7})),
        st.tuples(st.just("PReLU"), st.just({"shared_axes": [1]})),
        st.tuples(
            st.just("BatchNormalization"), st.fixed_dictionaries({"scale": st.booleans(), "center": st.booleans()})
        ),
        st.tuples(
            st.just("LayerNormalization"), st.fixed_dictionaries({"scale": st.booleans(), "center": st.booleans()})
        ),
        st.tuples(st.just("UnitNormalization"), st.just({})),
        st.tuples(st.just("Rescaling"), st.just({"scale": 0.5, "offset": 1.0})),
        st.tuples(st.just("rescaled features"), SIZES),
        st.tuples(
            st.just("Normalization"),
            st.fixed_dictionaries({"axis": st.sampled_from([-1, None]), "invert": st.booleans()}),
        ),
        st.tuples(
            st.just("Conv1D"),
            st.fixed_dictionaries(
                {
                    "filters": st.sampled_from([2, 4]),
                    "kernel_size": st.integers(1, 3),
                    "padding": st.sampled_from(["valid", "same", "causal"]),
                    "use_bias": st.booleans(),
                    "activation": st.sampled_from(["linear", "relu"]),
                }
            ),
            st.sampled_from([{}, {"strides": 2}, {"dilation_rate": 2}]),
        ),
        st.tuples(
            st.just("MaxPooling1D"),
            st.fixed_dictionaries({"pool_size": st.integers(1, 3), "padding": st.sampled_from(["valid", "same"])}),
            st.sampled_from([{}, {"strides": 1}]),
        ),
        # padding="same" is left out: on PyTorch Keras repeats the border, on TensorFlow and JAX padding does not count
        st.tuples(
            st.just("AveragePooling1D"),
            st.fixed_dictionaries({"pool_size": st.integers(1, 3)}),
            st.sampled_from([{}, {"strides": 1}]),
        ),
        st.tuples(st.just("ZeroPadding1D"), st.just({"padding": (1, 2)})),
        st.tuples(st.just("Cropping1D"), st.just({"cropping": (0, 1)})),
        st.tuples(st.just("merge"), st.sampled_from(MERGES), st.booleans()),
        st.tuples(st.just("Softmax"), st.just({"axis": -2})),
        st.tuples(st.just("operations"), st.floats(-2, 2, width=16)),
        st.tuples(st.just("function"), st.sampled_from(FUNCTIONS)),
        st.tuples(st.just("reduction"), st.sampled_from(REDUCTIONS), st.sampled_from([1, -1])),
        st.tuples(st.just("axes")),
        st.tuples(
            st.just("attention"),
            st.sampled_from(["Attention", "AdditiveAttention", "MultiHeadAttention"]),
            st.booleans(),
        ),
        st.tuples(st.just("states"), st.sampled_from(["LSTM", "GRU"]), SIZES),
        st.tuples(st.just("nested"), st.sampled_from(["Sequential", "Functional"]), SIZES),
    )


def last_layers():
    """Layers from [batch, time, features] to an end."""
    return st.one_of(
        recurrent(sequences=False),
        recurrent(sequences=False),
        st.tuples(st.sampled_from(["GlobalAveragePooling1D", "GlobalMaxPooling1D"]), st.just({})),
        st.tuples(st.just("Flatten"), st.just({})),
        st.tuples(st.just("reduction"), st.sampled_from(REDUCTIONS)),
        st.tuples(st.just("repeat"), SIZES),
        st.tuples(st.just("steps"), SIZES),
    )


@st.composite
def plans(draw):
    """A whole model."""
    tokens = draw(st.booleans())
    return {
        "tokens": tokens,
        "masked": draw(st.booleans()),
        "fixed_time": draw(st.booleans()),
        "layers": draw(st.lists(sequence_layers(), min_size=0, max_size=3)),
        "last": draw(last_layers()),
        "head": draw(st.sampled_from([None, "linear", "sigmoid", "softmax"])),
        "time_steps": draw(st.integers(4, 9)),
        "batch_size": draw(st.integers(1, 7)),
        "features": draw(SIZES),
        "suffix": draw(st.sampled_from([".keras", ".keras", ".h5"])),
        "seed": draw(st.integers(0, 2**16)),
    }


def build(plan):
    """The model, with weights drawn for it."""
    import keras
    from keras import layers

    fixed = plan["fixed_time"] or plan["last"][0] == "Flatten"
    time = plan["time_steps"] if fixed else None
    if plan["tokens"]:
        inputs = keras.Input((time,), dtype="int32")
        x = layers.Embedding(7, plan["features"], mask_zero=plan["masked"])(inputs)
    else:
        inputs = keras.Input((time, plan["features"]))
        x = layers.Masking(0.5)(inputs) if plan["masked"] else inputs
    for layer in plan["layers"]:
        x = _sequence(layer, x, layers, keras)
    outputs = _last(plan["last"], x, layers, keras)
    if plan["head"]:
        outputs[0] = layers.Dense(2, activation=plan["head"])(outputs[0])
    model = keras.Model(inputs, outputs)
    generator = np.random.default_rng(plan["seed"])
    for weight in model.weights:
        values = generator.normal(0, 0.5, weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    return model


def _recurrent(layer, layers):
    match layer:
        case ("recurrent", kind, options, return_state):
            return getattr(layers, kind)(**options, return_state=return_state)
        case ("bidirectional", kind, options, merge_mode, other):
            backward = getattr(layers, other[0])(**other[1]) if other else None
            return layers.Bidirectional(
                getattr(layers, kind)(**options), merge_mode=merge_mode, backward_layer=backward
            )
        case ("cells", drawn, options):
            made = [getattr(layers, f"{kind}Cell")(**each) for kind, each in drawn]
            return layers.RNN(made if len(made) > 1 else made[0], **options)
    raise AssertionError(layer)


def _sequence(layer, x, layers, keras):
    features = x.shape[-1]
    match layer:
        case ("recurrent" | "bidirectional" | "cells", *_):
            return _recurrent(layer, layers)(x)
        case ("TimeDistributed", "Dense", units):
            return layers.TimeDistributed(layers.Dense(units, activation="tanh"))(x)
        case ("TimeDistributed", "LayerNormalization", _):
            return layers.TimeDistributed(layers.LayerNormalization())(x)
        case ("TimeDistributed", "Sequential", units):
            inner = [keras.Input((features,)), layers.RepeatVector(2), layers.Flatten(), layers.Dense(units)]
            return layers.TimeDistributed(keras.Sequential(inner))(x)
        case ("rescaled features", first):
            return layers.Rescaling([first / 2 + axis for axis in range(features)], offset=0.1)(x)
        case ("merge", kind, unmasked):
            other = layers.Dense(features, activation="tanh")(x)
            # a Conv1D ends a mask
            return getattr(layers, kind)()([x, layers.Conv1D(features, 1)(other) if unmasked else other])
        case ("Softmax", options):
            return layers.Softmax(**options)(layers.Conv1D(features, 1)(x))
        case ("operations", number):
            return x * number + layers.Dense(features)(x)[:, :, -1:]
        case ("function", name):
            return getattr(keras.ops, name)(x)
        case ("reduction", name, axis):
            return x - getattr(keras.ops, name)(x, axis=axis, keepdims=True)
        case ("axes",):
            y = keras.ops.concatenate([x, layers.Dense(2)(x)], axis=-1)
            y = keras.ops.softmax(keras.ops.transpose(y, (0, 2, 1)), axis=1)
            return keras.ops.squeeze(keras.ops.expand_dims(keras.ops.transpose(y, (0, 2, 1)), 1), 1)
        case ("attention", "MultiHeadAttention", causal):
            return layers.MultiHeadAttention(2, 3, dropout=0.1 * causal)(x, x, use_causal_mask=causal)
        case ("attention", kind, causal):
            made = layers.Attention(use_scale=True, score_mode="concat") if causal else getattr(layers, kind)()
            return made([x, layers.Dense(features)(x)])
        case ("states", kind, units):
            sequence, *states = getattr(layers, kind)(units, return_sequences=True, return_state=True)(x)
            return getattr(layers, kind)(units, return_sequences=True)(sequence, initial_state=states)
        case ("nested", "Sequential", units):
            inner = [
                keras.Input((None, features)),
                layers.GRU(units, return_sequences=True),
                layers.BatchNormalization(),
                layers.Dense(units, trainable=False),
            ]
            return keras.Sequential(inner)(x)
        case ("nested", "Functional", units):
            inputs = keras.Input((None, features))
            shared = layers.LSTM(units, return_sequences=True)
            y = shared(layers.Dense(features)(shared(inputs)) if units == features else inputs)
            return keras.Model(inputs, layers.Dropout(0.5)(y))(x)
        case (kind, options, more):
            return getattr(layers, kind)(**options, **more)(x)
        case (kind, options):
            return getattr(layers, kind)(**options)(x)
    raise AssertionError(layer)


def _last(layer, x, layers, keras):
    match layer:
        case ("recurrent", _, _, True):
            return list(_recurrent(layer, layers)(x))
        case ("recurrent" | "bidirectional" | "cells", *_):
            return [_recurrent(layer, layers)(x)]
        case ("repeat", count):
            y = layers.RepeatVector(count)(layers.GRU(3)(x))
            return [layers.LSTM(2, return_sequences=True)(y)]
        case ("steps", units):
            return [layers.TimeDistributed(layers.Dense(units))(x)]
        case ("reduction", name):
            return [getattr(keras.ops, name)(x, axis=1)]
        case (kind, options):
            return [getattr(layers, kind)(**options)(x)]
    raise AssertionError(layer)


def feeds(plan):
    """A call of the model: rows with masked steps in all places."""
    generator = np.random.default_rng(plan["seed"])
    shape = (plan["batch_size"], plan["time_steps"])
    if plan["tokens"]:
        return generator.integers(0 if plan["masked"] else 1, 7, shape).astype(np.int32)
    x = generator.normal(size=(*shape, plan["features"]))
    if plan["masked"]:
        x[generator.random(shape) < 0.3] = 0.5
        x[0, plan["time_steps"] // 2 :] = 0.5
    return x
