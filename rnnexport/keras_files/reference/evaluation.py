"""A whole model, call by call."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.keras_files.layers import layer as base
from rnnexport.keras_files.layers.attention import Attention, HeadProjection, MultiHeadAttention
from rnnexport.keras_files.layers.convolution import Conv, GlobalPool, Pool, Window
from rnnexport.keras_files.layers.dense import Activate, Dense, Embedding, Pass, PRelu, Rescale
from rnnexport.keras_files.layers.masks import (
    AnyTrue,
    ExpandDims,
    FilledLike,
    Logical,
    Masking,
    NotEqual,
    Select,
    Unchanged,
)
from rnnexport.keras_files.layers.merging import Concatenate, Dot, Merge
from rnnexport.keras_files.layers.normalization import BatchNorm, FeatureNorm, LayerNorm, Softmax, UnitNorm
from rnnexport.keras_files.layers.operations import (
    ArithmeticOperation,
    PartOperation,
    ReduceOperation,
    SqueezeOperation,
)
from rnnexport.keras_files.layers.recurrent import Bidirectional, Recurrent
from rnnexport.keras_files.layers.shaping import FoldTime, Pad, Permute, Repeat, Reshape, UnfoldTime
from rnnexport.keras_files.model import Model
from rnnexport.keras_files.reference.activations import activate
from rnnexport.keras_files.reference.recurrent import run_bidirectional, run_recurrent
from rnnexport.keras_files.weights import Weight

Array = NDArray[Any]
Masks = list[Array | None]


def evaluate(model: Model, feeds: Mapping[str, Array], dtype: type[np.floating[Any]] = np.float64) -> dict[str, Array]:
    """Compute all outputs of a model.

    Args:
        model: The model.
        feeds: An array for each input, by name.
        dtype: What to compute in.

    Raises:
        ValueError: The model cannot be called so, for instance with too few steps.
    """
    values: dict[str, Array] = {}
    for tensor in model.inputs:
        given = np.asarray(feeds[tensor.name])
        values[tensor.name] = given.astype(dtype) if tensor.kind == "float" else given
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are values like others
        for call in model.calls:
            inputs = [values[tensor.name] for tensor in call.inputs]
            masks: Masks = [None if mask is None else values[mask.name] for mask in call.masks]
            results = compute(call.layer, inputs, masks)
            if any(result.size == 0 for result in results):
                raise ValueError(f"layer {call.name!r} gives nothing for so few steps")
            values |= {tensor.name: result for tensor, result in zip(call.outputs, results, strict=True)}
    return {tensor.name: values[tensor.name] for tensor in model.outputs}


@singledispatch
def compute(layer: base.KerasLayer, inputs: list[Array], masks: Masks) -> list[Array]:
    """Compute what a layer gives for its inputs, in the inputs' precision."""
    raise NotImplementedError(type(layer).__name__)


def _of(weight: Weight, x: Array) -> Array:
    return weight.value.astype(x.dtype, copy=False)


@compute.register
def _(layer: Recurrent, inputs: list[Array], masks: Masks) -> list[Array]:
    return run_recurrent(layer, inputs[0], inputs[1:], masks[0])


@compute.register
def _(layer: Bidirectional, inputs: list[Array], masks: Masks) -> list[Array]:
    return run_bidirectional(layer, inputs[0], inputs[1:], masks[0])


@compute.register
def _(layer: Dense, inputs: list[Array], masks: Masks) -> list[Array]:
    y = inputs[0] @ _of(layer.kernel, inputs[0])
    return [activate(layer.activation, y if layer.bias is None else y + _of(layer.bias, y))]


@compute.register
def _(layer: Embedding, inputs: list[Array], masks: Masks) -> list[Array]:
    return [layer.table.value[inputs[0]]]


@compute.register
def _(layer: Activate, inputs: list[Array], masks: Masks) -> list[Array]:
    return [activate(layer.activation, inputs[0])]


@compute.register
def _(layer: PRelu, inputs: list[Array], masks: Masks) -> list[Array]:
    return [np.maximum(inputs[0], 0) + _of(layer.alpha, inputs[0]) * np.minimum(inputs[0], 0)]


@compute.register
def _(layer: Pass, inputs: list[Array], masks: Masks) -> list[Array]:
    return [inputs[0]]


@compute.register
def _(layer: Rescale, inputs: list[Array], masks: Masks) -> list[Array]:
    x = inputs[0]
    return [x * layer.scale.astype(x.dtype) + layer.offset.astype(x.dtype)]


def _windows(window: Window, x: Array, fill: float) -> Array:
    """[batch, steps after, size, features] of x [batch, time, features]."""
    time = x.shape[1]
    before = window.reach if window.padding == "causal" else 0
    after = 0
    if window.padding == "same":
        missing = max((math.ceil(time / window.stride) - 1) * window.stride + window.reach + 1 - time, 0)
        before, after = missing // 2, missing - missing // 2
    padded = np.pad(x, [(0, 0), (before, after), (0, 0)], constant_values=fill)
    starts = range(0, padded.shape[1] - window.reach, window.stride)
    reads = np.array([[start + k * window.dilation for k in range(window.size)] for start in starts], dtype=np.int64)
    return padded[:, reads.reshape(-1, window.size)]


def _features_last(window: Window, x: Array) -> Array:
    return np.swapaxes(x, 1, 2) if window.features_first else x


@compute.register
def _(layer: Conv, inputs: list[Array], masks: Masks) -> list[Array]:
    windows = _windows(layer.window, _features_last(layer.window, inputs[0]), 0.0)
    kernels = np.split(_of(layer.kernel, inputs[0]), layer.groups, axis=2)
    parts = np.split(windows, layer.groups, axis=3)
    y = np.concatenate([np.einsum("btkc,kcf->btf", x, k) for x, k in zip(parts, kernels, strict=True)], axis=2)
    y = activate(layer.activation, y if layer.bias is None else y + _of(layer.bias, y))
    return [_features_last(layer.window, y)]


@compute.register
def _(layer: Pool, inputs: list[Array], masks: Masks) -> list[Array]:
    x = _features_last(layer.window, inputs[0])
    if layer.largest:
        y = _windows(layer.window, x, -np.inf).max(axis=2)
    else:
        y = np.nanmean(_windows(layer.window, x, np.nan), axis=2)  # padding does not count
    return [_features_last(layer.window, y)]


@compute.register
def _(layer: GlobalPool, inputs: list[Array], masks: Masks) -> list[Array]:
    x, axis, mask = inputs[0], layer.time_axis, masks[0]
    if layer.largest:
        return [x.max(axis=axis, keepdims=layer.keepdims)]
    if mask is None:
        return [x.mean(axis=axis, keepdims=layer.keepdims)]
    counts = np.expand_dims(mask, 3 - axis)
    total = np.where(counts, x, 0).sum(axis=axis, keepdims=layer.keepdims)
    return [total / counts.astype(x.dtype).sum(axis=axis, keepdims=layer.keepdims)]


@compute.register
def _(layer: BatchNorm, inputs: list[Array], masks: Masks) -> list[Array]:
    x = np.moveaxis(inputs[0], layer.axis, -1)
    y = (x - _of(layer.mean, x)) / np.sqrt(_of(layer.variance, x) + x.dtype.type(layer.epsilon))
    y = y if layer.gamma is None else y * _of(layer.gamma, y)
    y = y if layer.beta is None else y + _of(layer.beta, y)
    return [np.moveaxis(y, -1, layer.axis)]


@compute.register
def _(layer: LayerNorm, inputs: list[Array], masks: Masks) -> list[Array]:
    x = inputs[0]
    mean, variance = x.mean(axis=layer.axes, keepdims=True), x.var(axis=layer.axes, keepdims=True)
    y = (x - mean) / np.sqrt(variance + x.dtype.type(layer.epsilon))
    shape = [size if axis in layer.axes else 1 for axis, size in enumerate(x.shape)]
    y = y if layer.gamma is None else y * _of(layer.gamma, y).reshape(shape)
    return [y if layer.beta is None else y + _of(layer.beta, y).reshape(shape)]


@compute.register
def _(layer: FeatureNorm, inputs: list[Array], masks: Masks) -> list[Array]:
    x = inputs[0]
    mean = _of(layer.mean, x).reshape(layer.shape)
    deviation = np.maximum(np.sqrt(_of(layer.variance, x)), x.dtype.type(1e-7)).reshape(layer.shape)
    return [mean + x * deviation if layer.invert else (x - mean) / deviation]


@compute.register
def _(layer: UnitNorm, inputs: list[Array], masks: Masks) -> list[Array]:
    square = np.sum(inputs[0] ** 2, axis=layer.axes, keepdims=True)
    return [inputs[0] / np.sqrt(np.maximum(square, inputs[0].dtype.type(1e-12)))]


@compute.register
def _(layer: Reshape, inputs: list[Array], masks: Masks) -> list[Array]:
    return [inputs[0].reshape(len(inputs[0]), *layer.target)]


@compute.register
def _(layer: Permute, inputs: list[Array], masks: Masks) -> list[Array]:
    return [inputs[0].transpose(layer.order)]


@compute.register
def _(layer: Repeat, inputs: list[Array], masks: Masks) -> list[Array]:
    return [np.repeat(inputs[0][:, None], layer.count, axis=1)]


@compute.register
def _(layer: Pad, inputs: list[Array], masks: Masks) -> list[Array]:
    x = inputs[0][:, max(-layer.before, 0) : inputs[0].shape[1] - max(-layer.after, 0)]
    widths = [(0, 0), (max(layer.before, 0), max(layer.after, 0)), *[(0, 0)] * (x.ndim - 2)]
    return [np.pad(x, widths)]


@compute.register
def _(layer: FoldTime, inputs: list[Array], masks: Masks) -> list[Array]:
    return [inputs[0].reshape(-1, *inputs[0].shape[2:])]


@compute.register
def _(layer: UnfoldTime, inputs: list[Array], masks: Masks) -> list[Array]:
    return [inputs[0].reshape(*inputs[1].shape[:2], *inputs[0].shape[1:])]


@compute.register
def _(layer: Merge, inputs: list[Array], masks: Masks) -> list[Array]:
    rank = max(x.ndim for x in inputs)
    result, *others = [x.reshape(len(x), *[1] * (rank - x.ndim), *x.shape[1:]) for x in inputs]
    for x in others:
        result = _MERGES[layer.operation](result, x)
    return [result / len(inputs) if layer.operation == "Average" else result]


_MERGES: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Average": np.add,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
}


_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Max": np.maximum,
    "Min": np.minimum,
}


@compute.register
def _(layer: ArithmeticOperation, inputs: list[Array], masks: Masks) -> list[Array]:
    both = inputs if layer.number is None else [inputs[0], inputs[0].dtype.type(layer.number)]
    return [_ARITHMETIC[layer.operation](*(reversed(both) if layer.number_first else both))]


@compute.register
def _(layer: PartOperation, inputs: list[Array], masks: Masks) -> list[Array]:
    return [inputs[0][layer.picks]]


@compute.register
def _(layer: ReduceOperation, inputs: list[Array], masks: Masks) -> list[Array]:
    return [_REDUCTIONS[layer.operation](inputs[0], axis=layer.axes, keepdims=layer.keepdims)]


_REDUCTIONS: dict[str, Callable[..., Array]] = {"Mean": np.mean, "Sum": np.sum, "Max": np.max, "Min": np.min}


@compute.register
def _(layer: SqueezeOperation, inputs: list[Array], masks: Masks) -> list[Array]:
    return [np.squeeze(inputs[0], axis=layer.axes)]


@compute.register
def _(layer: Concatenate, inputs: list[Array], masks: Masks) -> list[Array]:
    return [np.concatenate(inputs, axis=layer.axis)]


@compute.register
def _(layer: Dot, inputs: list[Array], masks: Masks) -> list[Array]:
    a, b = inputs
    if layer.normalize:
        a, b = (
            x / np.maximum(np.sqrt(np.sum(x**2, axis=axis, keepdims=True)), x.dtype.type(layer.least))
            for x, axis in zip(inputs, layer.axes, strict=True)
        )
    a, b = np.moveaxis(a, layer.axes[0], -1), np.moveaxis(b, layer.axes[1], -1)
    y = np.einsum("bik,bjk->bij", a.reshape(len(a), -1, a.shape[-1]), b.reshape(len(b), -1, b.shape[-1]))
    return [y.reshape(len(y), *(a.shape[1:-1] + b.shape[1:-1] or (1,)))]


def _softmax(scores: Array, counts: Array | None, axis: int = -1, *, blanks: bool = False) -> Array:
    """Of the elements that count; where none does, all count alike, or, with `blanks`, are 0.

    Keras subtracts 1e9 from the others, and in float32 nothing of them is left then.
    """
    if counts is not None:
        scores = np.where(counts.any(axis=axis, keepdims=True), np.where(counts, scores, -np.inf), 0)
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    return np.asarray(np.where(counts, y, 0) if blanks and counts is not None else y)


@compute.register
def _(layer: Softmax, inputs: list[Array], masks: Masks) -> list[Array]:
    return [_softmax(inputs[0], masks[0], layer.axis, blanks=layer.blanks)]


def _no_later(queries: int, keys: int) -> Array:
    """[queries, keys]: whether a step may attend to another."""
    return np.arange(queries)[:, None] >= np.arange(keys)


@compute.register
def _(layer: Attention, inputs: list[Array], masks: Masks) -> list[Array]:
    query, value, key = inputs[0], inputs[1], inputs[-1] if len(inputs) > 2 else inputs[1]
    scale = 1 if layer.scale is None else _of(layer.scale, query)
    if layer.score == "dot":
        scores = query @ np.swapaxes(key, -1, -2) * scale
    else:
        sums = query[:, :, None] + key[:, None]
        if layer.score == "additive":
            scores = np.sum(scale * np.tanh(sums), axis=-1)
        else:
            assert layer.score_weight is not None
            scores = _of(layer.score_weight, query) * np.sum(np.tanh(scale * sums), axis=-1)
    counts = None if masks[1] is None else masks[1][:, None]
    if layer.causal:
        causal = _no_later(query.shape[1], key.shape[1])
        counts = causal if counts is None else counts & causal
    weights = _softmax(scores, counts)
    y = weights @ value
    y = y if masks[0] is None else np.where(masks[0][..., None], y, 0)
    return [y, weights] if layer.gives_weights else [y]


def _projected(projection: HeadProjection, x: Array) -> Array:
    """[batch, time, features] → [batch, heads, time, size]."""
    y = np.einsum("btf,fhs->bths", x, _of(projection.kernel, x))
    return np.swapaxes(y if projection.bias is None else y + _of(projection.bias, x), 1, 2)


@compute.register
def _(layer: MultiHeadAttention, inputs: list[Array], masks: Masks) -> list[Array]:
    query, key, value = (
        _projected(projection, x)
        for projection, x in ((layer.query, inputs[0]), (layer.key, inputs[-1]), (layer.value, inputs[1]))
    )
    scores = query @ np.swapaxes(key, -1, -2) / query.dtype.type(math.sqrt(query.shape[-1]))
    of_query, of_value, *others = masks
    of_key = others[0] if len(inputs) > 2 else None
    parts = [
        None if of_query is None else of_query[:, :, None],
        *(None if mask is None else mask[:, None] for mask in (of_value, of_key)),
        *others[len(inputs) - 2 :],
        _no_later(query.shape[2], key.shape[2]) if layer.causal else None,
    ]
    counts = None
    for part in parts:
        if part is not None:
            counts = part if counts is None else counts & part
    if counts is not None:
        counts = np.broadcast_to(counts, (len(query), query.shape[2], key.shape[2]))[:, None]
    weights = _softmax(scores, counts, blanks=layer.blanks)
    y = np.einsum("bhts,hsf->btf", weights @ value, _of(layer.output.kernel, query))
    y = y if layer.output.bias is None else y + _of(layer.output.bias, y)
    return [y, weights] if layer.gives_weights else [y]


@compute.register
def _(layer: Masking, inputs: list[Array], masks: Masks) -> list[Array]:
    return [np.where((inputs[0] != layer.mask_value).any(axis=-1, keepdims=True), inputs[0], 0)]


@compute.register
def _(layer: NotEqual, inputs: list[Array], masks: Masks) -> list[Array]:
    return [inputs[0] != layer.value]


@compute.register
def _(layer: AnyTrue, inputs: list[Array], masks: Masks) -> list[Array]:
    return [np.asarray(inputs[0].any(axis=-1))]


@compute.register
def _(layer: Logical, inputs: list[Array], masks: Masks) -> list[Array]:
    return [inputs[0] | inputs[1] if layer.operation == "or" else inputs[0] & inputs[1]]


@compute.register
def _(layer: ExpandDims, inputs: list[Array], masks: Masks) -> list[Array]:
    return [np.expand_dims(inputs[0], layer.axis)]


@compute.register
def _(layer: FilledLike, inputs: list[Array], masks: Masks) -> list[Array]:
    return [np.full(inputs[0].shape, layer.value)]


@compute.register
def _(layer: Unchanged, inputs: list[Array], masks: Masks) -> list[Array]:
    return [inputs[0]]


@compute.register
def _(layer: Select, inputs: list[Array], masks: Masks) -> list[Array]:
    otherwise = inputs[2] if len(inputs) > 2 else inputs[0].dtype.type(layer.otherwise)
    return [np.where(inputs[1], inputs[0], otherwise)]
