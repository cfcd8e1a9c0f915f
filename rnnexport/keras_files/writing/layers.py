"""Every layer but the recurrent ones as nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce, singledispatch
from typing import Any

import numpy as np
import onnx_ir as ir

from rnnexport.keras_files.layers.attention import Attention, HeadProjection, MultiHeadAttention
from rnnexport.keras_files.layers.convolution import Conv, GlobalPool, Pool, Window
from rnnexport.keras_files.layers.dense import Activate, Dense, Embedding, Pass, PRelu, Rescale
from rnnexport.keras_files.layers.layer import KerasLayer, Shape
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
from rnnexport.keras_files.layers.shaping import FoldTime, Pad, Permute, Repeat, Reshape, UnfoldTime
from rnnexport.keras_files.writing.activations import activated
from rnnexport.keras_files.writing.nodes import Nodes


@dataclass(frozen=True, slots=True)
class Given:
    """What a layer is called with."""

    values: Sequence[ir.Value]
    masks: Sequence[ir.Value | None]
    shapes: Sequence[Shape]
    """Of the values."""

    @property
    def x(self) -> ir.Value:
        """The first input."""
        return self.values[0]


@singledispatch
def write(layer: KerasLayer, nodes: Nodes, given: Given) -> ir.Value | list[ir.Value]:
    """Write a layer; a list where it can have several outputs."""
    raise NotImplementedError(type(layer).__name__)


@write.register
def _(layer: Dense, nodes: Nodes, given: Given) -> ir.Value:
    product = nodes.op("MatMul", given.x, nodes.weight(layer.kernel))
    return activated(nodes, layer.activation, nodes.add(product, layer.bias))


@write.register
def _(layer: Embedding, nodes: Nodes, given: Given) -> ir.Value:
    return nodes.op("Gather", nodes.weight(layer.table), given.x, axis=0)


@write.register
def _(layer: Activate, nodes: Nodes, given: Given) -> ir.Value:
    return activated(nodes, layer.activation, given.x)


@write.register
def _(layer: PRelu, nodes: Nodes, given: Given) -> ir.Value:
    return nodes.op("PRelu", given.x, nodes.weight(layer.alpha))


@write.register
def _(layer: Pass, nodes: Nodes, given: Given) -> ir.Value:
    return given.x


@write.register
def _(layer: Rescale, nodes: Nodes, given: Given) -> ir.Value:
    scaled = nodes.op("Mul", given.x, nodes.floats(layer.scale, "scale"))
    return nodes.op("Add", scaled, nodes.floats(layer.offset, "offset"))


def _features_before_time(nodes: Nodes, window: Window, x: ir.Value) -> ir.Value:
    """Between Keras's order of axes and ONNX's, either way."""
    return x if window.features_first else nodes.transpose(x, (0, 2, 1))


def _padding(window: Window) -> dict[str, Any]:
    """The attributes of a Conv or a pooling, but for the causal padding of strides, which is as explicit."""
    if window.padding == "same" and window.stride > 1:
        return {"auto_pad": "SAME_UPPER"}
    before = {"valid": 0, "same": window.reach // 2, "causal": window.reach}[window.padding]
    return {"pads": [before, window.reach - before if window.padding == "same" else 0]}


@write.register
def _(layer: Conv, nodes: Nodes, given: Given) -> ir.Value:
    window = layer.window
    kernel = nodes.floats(layer.kernel.value.transpose(2, 1, 0), "kernel")
    bias = [nodes.weight(layer.bias)] if layer.bias is not None else []
    x = _features_before_time(nodes, window, given.x)
    y = nodes.op("Conv", x, kernel, *bias, kernel_shape=[window.size], strides=[window.stride],
                 dilations=[window.dilation], group=layer.groups, **_padding(window))  # fmt: skip
    # an activation over the last axis is one over the features only in Keras's order
    y = nodes.transpose(y, (0, 2, 1))
    y = activated(nodes, layer.activation, y)
    return nodes.transpose(y, (0, 2, 1)) if window.features_first else y


@write.register
def _(layer: Pool, nodes: Nodes, given: Given) -> ir.Value:
    window = layer.window
    x = _features_before_time(nodes, window, given.x)
    kind = "MaxPool" if layer.largest else "AveragePool"
    y = nodes.op(kind, x, kernel_shape=[window.size], strides=[window.stride], **_padding(window))
    return _features_before_time(nodes, window, y)


@write.register
def _(layer: GlobalPool, nodes: Nodes, given: Given) -> ir.Value:
    mask, axis, keep = given.masks[0], layer.time_axis, layer.keepdims
    if layer.largest or mask is None:
        return nodes.reduce("Max" if layer.largest else "Mean", given.x, [axis], keepdims=keep)
    counts = nodes.unsqueeze(mask, 3 - axis)
    total = nodes.reduce("Sum", nodes.op("Where", counts, given.x, nodes.floats(0.0, "zero")), [axis], keepdims=keep)
    return nodes.op("Div", total, nodes.reduce("Sum", nodes.cast(counts, ir.DataType.FLOAT), [axis], keepdims=keep))


@write.register
def _(layer: BatchNorm, nodes: Nodes, given: Given) -> ir.Value:
    """As one product and one sum, which are put together in float64."""
    scale = 1 / np.sqrt(layer.variance.value.astype(np.float64) + layer.epsilon)
    scale = scale if layer.gamma is None else scale * layer.gamma.value
    offset = -layer.mean.value * scale
    offset = offset if layer.beta is None else offset + layer.beta.value
    shape = [-1 if axis == layer.axis else 1 for axis in range(len(given.shapes[0]))]
    scaled = nodes.op("Mul", given.x, nodes.floats(scale.reshape(shape), "scale"))
    return nodes.op("Add", scaled, nodes.floats(offset.reshape(shape), "offset"))


@write.register
def _(layer: LayerNorm, nodes: Nodes, given: Given) -> ir.Value:
    centred = nodes.op("Sub", given.x, nodes.reduce("Mean", given.x, layer.axes, keepdims=True))
    variance = nodes.reduce("Mean", nodes.op("Mul", centred, centred), layer.axes, keepdims=True)
    deviation = nodes.op("Sqrt", nodes.op("Add", variance, nodes.floats(layer.epsilon, "epsilon")))
    y = nodes.op("Div", centred, deviation)
    shape = [size if axis in layer.axes else 1 for axis, size in enumerate(given.shapes[0])]
    for op_type, weight in (("Mul", layer.gamma), ("Add", layer.beta)):
        if weight is not None:
            y = nodes.op(op_type, y, nodes.floats(weight.value.reshape(shape), weight.name))
    return y


@write.register
def _(layer: FeatureNorm, nodes: Nodes, given: Given) -> ir.Value:
    mean = nodes.floats(layer.mean.value.reshape(layer.shape), "mean")
    spread = np.maximum(np.sqrt(layer.variance.value.astype(np.float64)), 1e-7).reshape(layer.shape)
    deviation = nodes.floats(spread, "deviation")
    if layer.invert:
        return nodes.op("Add", nodes.op("Mul", given.x, deviation), mean)
    return nodes.op("Div", nodes.op("Sub", given.x, mean), deviation)


@write.register
def _(layer: UnitNorm, nodes: Nodes, given: Given) -> ir.Value:
    square = nodes.reduce("Sum", nodes.op("Mul", given.x, given.x), layer.axes, keepdims=True)
    return nodes.op("Div", given.x, nodes.op("Sqrt", nodes.op("Max", square, nodes.floats(1e-12, "least"))))


@write.register
def _(layer: Reshape, nodes: Nodes, given: Given) -> ir.Value:
    return nodes.reshape(given.x, (-1, *layer.target))


@write.register
def _(layer: Permute, nodes: Nodes, given: Given) -> ir.Value:
    return nodes.transpose(given.x, layer.order)


@write.register
def _(layer: Repeat, nodes: Nodes, given: Given) -> ir.Value:
    shape = nodes.op(
        "Concat", nodes.size(given.x, 0), nodes.whole([layer.count], "count"), nodes.size(given.x, 1), axis=0
    )
    return nodes.op("Expand", nodes.unsqueeze(given.x, 1), shape)


@write.register
def _(layer: Pad, nodes: Nodes, given: Given) -> ir.Value:
    x, rank = given.x, len(given.shapes[0])
    if min(layer.before, layer.after) < 0:
        x = nodes.cut(x, 1, max(-layer.before, 0), layer.after if layer.after < 0 else 2**31 - 1)
    if max(layer.before, layer.after) <= 0:
        return x
    widths = np.zeros((2, rank), np.int64)
    widths[:, 1] = max(layer.before, 0), max(layer.after, 0)
    return nodes.op("Pad", x, nodes.whole(widths.reshape(-1), "widths"))


@write.register
def _(layer: FoldTime, nodes: Nodes, given: Given) -> ir.Value:
    rest = [nodes.size(given.x, axis) for axis in range(2, len(given.shapes[0]))]
    shape = nodes.op("Concat", nodes.whole([-1], "folded"), *rest, axis=0)
    return nodes.op("Reshape", given.x, shape)


@write.register
def _(layer: UnfoldTime, nodes: Nodes, given: Given) -> ir.Value:
    first = [nodes.size(given.values[1], axis) for axis in (0, 1)]
    rest = [nodes.size(given.x, axis) for axis in range(1, len(given.shapes[0]))]
    return nodes.op("Reshape", given.x, nodes.op("Concat", *first, *rest, axis=0))


_MERGES = {
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Average": "Add",
    "Maximum": "Max",
    "Minimum": "Min",
}


@write.register
def _(layer: Merge, nodes: Nodes, given: Given) -> ir.Value:
    rank = max(map(len, given.shapes))
    wide = [
        value if len(shape) == rank else nodes.unsqueeze(value, *range(1, 1 + rank - len(shape)))
        for value, shape in zip(given.values, given.shapes, strict=True)
    ]
    result = reduce(lambda x, y: nodes.op(_MERGES[layer.operation], x, y), wide)
    return nodes.op("Mul", result, nodes.floats(1 / len(wide), "share")) if layer.operation == "Average" else result


@write.register
def _(layer: ArithmeticOperation, nodes: Nodes, given: Given) -> ir.Value:
    both = [*given.values, *([] if layer.number is None else [nodes.floats(layer.number)])]
    return nodes.op(layer.operation, *(reversed(both) if layer.number_first else both))


@write.register
def _(layer: PartOperation, nodes: Nodes, given: Given) -> ir.Value:
    x = given.x
    for axis, pick in reversed([*enumerate(layer.picks)]):  # from the last, since axes go
        if isinstance(pick, int):
            x = nodes.pick(x, pick, axis)
        elif pick != slice(None):
            x = nodes.cut(x, axis, pick.start or 0, 2**31 - 1 if pick.stop is None else pick.stop)
    return x


@write.register
def _(layer: ReduceOperation, nodes: Nodes, given: Given) -> ir.Value:
    return nodes.reduce(layer.operation, given.x, layer.axes, keepdims=layer.keepdims)


@write.register
def _(layer: SqueezeOperation, nodes: Nodes, given: Given) -> ir.Value:
    return nodes.op("Squeeze", given.x, nodes.whole(layer.axes, "axes"))


@write.register
def _(layer: Concatenate, nodes: Nodes, given: Given) -> ir.Value:
    return nodes.op("Concat", *given.values, axis=layer.axis)


@write.register
def _(layer: Dot, nodes: Nodes, given: Given) -> ir.Value:
    a, b = (
        _unit(nodes, x, axis, layer.least) if layer.normalize else x
        for x, axis in zip(given.values, layer.axes, strict=True)
    )
    if len(given.shapes[0]) == 2:
        a = nodes.unsqueeze(a, 1)
    elif layer.axes[0] == 1:
        a = nodes.transpose(a, (0, 2, 1))
    if len(given.shapes[1]) == 2:
        b = nodes.unsqueeze(b, 2)
    elif layer.axes[1] == 2:
        b = nodes.transpose(b, (0, 2, 1))
    y = nodes.op("MatMul", a, b)  # [batch, axis of the first or 1, axis of the second or 1]
    if len(given.shapes[0]) == 2:
        return nodes.squeeze(y, 1)
    return nodes.squeeze(y, 2) if len(given.shapes[1]) == 2 else y


def _unit(nodes: Nodes, x: ir.Value, axis: int, least: float) -> ir.Value:
    """Vectors along an axis, divided by their lengths."""
    length = nodes.op("Sqrt", nodes.reduce("Sum", nodes.op("Mul", x, x), [axis], keepdims=True))
    return nodes.op("Div", x, nodes.op("Max", length, nodes.floats(least, "least")))


def _softmax(nodes: Nodes, scores: ir.Value, counts: ir.Value | None, axis: int = -1, *, blanks: bool) -> ir.Value:
    """Of the elements that count; where none does, all count alike, or, with `blanks`, are 0."""
    if counts is not None:
        scores = nodes.op("Where", counts, scores, nodes.floats(-1e9, "far"))
    y = nodes.op("Softmax", scores, axis=axis)
    return nodes.op("Where", counts, y, nodes.floats(0.0, "zero")) if blanks and counts is not None else y


@write.register
def _(layer: Softmax, nodes: Nodes, given: Given) -> ir.Value:
    return _softmax(nodes, given.x, given.masks[0], layer.axis, blanks=layer.blanks)


def _no_later(nodes: Nodes, query: ir.Value, key: ir.Value, axis: int) -> ir.Value:
    """[queries, keys]: whether a step may attend to another."""

    def steps(x: ir.Value) -> ir.Value:
        count = nodes.squeeze(nodes.size(x, axis), 0)
        return nodes.op("Range", nodes.whole(0, "zero"), count, nodes.whole(1, "one"))

    return nodes.op("GreaterOrEqual", nodes.unsqueeze(steps(query), 1), steps(key))


@write.register
def _(layer: Attention, nodes: Nodes, given: Given) -> list[ir.Value]:
    query, value, key = given.x, given.values[1], given.values[-1] if len(given.values) > 2 else given.values[1]
    if layer.score == "dot":
        scores = nodes.op("MatMul", query, nodes.transpose(key, (0, 2, 1)))
        scores = scores if layer.scale is None else nodes.op("Mul", scores, nodes.weight(layer.scale))
    else:
        scores = _scores_of_sums(layer, nodes, nodes.op("Add", nodes.unsqueeze(query, 2), nodes.unsqueeze(key, 1)))
    counts = None if given.masks[1] is None else nodes.unsqueeze(given.masks[1], 1)
    if layer.causal:
        causal = _no_later(nodes, query, key, 1)
        counts = causal if counts is None else nodes.op("And", counts, causal)
    weights = _softmax(nodes, scores, counts, blanks=False)
    y = nodes.op("MatMul", weights, value)
    if given.masks[0] is not None:
        y = nodes.op("Where", nodes.unsqueeze(given.masks[0], 2), y, nodes.floats(0.0, "zero"))
    return [y, weights] if layer.gives_weights else [y]


def _scores_of_sums(layer: Attention, nodes: Nodes, sums: ir.Value) -> ir.Value:
    """Of query + key, [batch, queries, keys, features]."""
    scale = None if layer.scale is None else nodes.weight(layer.scale)
    if layer.score == "additive":
        tanh = nodes.op("Tanh", sums)
        return nodes.reduce("Sum", tanh if scale is None else nodes.op("Mul", tanh, scale), [3])
    tanh = nodes.op("Tanh", sums if scale is None else nodes.op("Mul", sums, scale))
    assert layer.score_weight is not None
    return nodes.op("Mul", nodes.reduce("Sum", tanh, [3]), nodes.weight(layer.score_weight))


def _projected(nodes: Nodes, projection: HeadProjection, x: ir.Value, order: Sequence[int]) -> ir.Value:
    """[batch, time, features] → [batch, time, heads, size], axes in this order."""
    features, heads, size = projection.kernel.shape
    kernel = nodes.floats(projection.kernel.value.reshape(features, heads * size), "kernel")
    y = nodes.op("MatMul", x, kernel)
    if projection.bias is not None:
        y = nodes.op("Add", y, nodes.floats(projection.bias.value.reshape(-1), "bias"))
    return nodes.transpose(nodes.reshape(y, (0, 0, heads, size)), order)


@write.register
def _(layer: MultiHeadAttention, nodes: Nodes, given: Given) -> list[ir.Value]:
    query = _projected(nodes.called("query"), layer.query, given.x, (0, 2, 1, 3))
    key = _projected(nodes.called("key"), layer.key, given.values[-1], (0, 2, 3, 1))
    value = _projected(nodes.called("value"), layer.value, given.values[1], (0, 2, 1, 3))
    query = nodes.op("Mul", query, nodes.floats(1 / math.sqrt(layer.query.kernel.shape[2]), "scale"))
    scores = nodes.op("MatMul", query, key)
    weights = _softmax(nodes, scores, _counts_of_heads(layer, nodes, given), blanks=layer.blanks)
    heads, size, features = layer.output.kernel.shape
    y = nodes.transpose(nodes.op("MatMul", weights, value), (0, 2, 1, 3))
    kernel = nodes.floats(layer.output.kernel.value.reshape(heads * size, features), "output_kernel")
    y = nodes.add(nodes.op("MatMul", nodes.reshape(y, (0, 0, heads * size)), kernel), layer.output.bias)
    return [y, weights] if layer.gives_weights else [y]


def _counts_of_heads(layer: MultiHeadAttention, nodes: Nodes, given: Given) -> ir.Value | None:
    """[batch or 1, 1, queries or 1, keys]: which step attends to which, by all masks together."""
    of_query, of_value, *others = given.masks
    of_key = others[0] if len(given.values) > 2 else None
    parts = [
        None if of_query is None else nodes.unsqueeze(of_query, 1, 3),
        *(None if mask is None else nodes.unsqueeze(mask, 1, 2) for mask in (of_value, of_key)),
        *(nodes.unsqueeze(mask, 1) for mask in others[len(given.values) - 2 :] if mask is not None),
        _no_later(nodes, given.x, given.values[-1], 1) if layer.causal else None,
    ]
    found = [part for part in parts if part is not None]
    return reduce(lambda x, y: nodes.op("And", x, y), found) if found else None


@write.register
def _(layer: Masking, nodes: Nodes, given: Given) -> ir.Value:
    unequal = _unequal(nodes, given.x, layer.mask_value)
    counts = _any(nodes, unequal, keepdims=True)
    return nodes.op("Where", counts, given.x, nodes.floats(0.0, "zero"))


def _unequal(nodes: Nodes, x: ir.Value, value: float) -> ir.Value:
    dtype = x.dtype.numpy() if x.dtype is not None else np.float32
    number = nodes.writer.constant(np.array(value, dtype), f"{nodes.name}.value")
    return nodes.op("Not", nodes.op("Equal", x, number))


def _any(nodes: Nodes, x: ir.Value, *, keepdims: bool) -> ir.Value:
    """Whether any element along the last axis is true."""
    most = nodes.reduce("Max", nodes.cast(x, ir.DataType.FLOAT), [-1], keepdims=keepdims)
    return nodes.op("Greater", most, nodes.floats(0.5, "half"))


@write.register
def _(layer: NotEqual, nodes: Nodes, given: Given) -> ir.Value:
    return _unequal(nodes, given.x, layer.value)


@write.register
def _(layer: AnyTrue, nodes: Nodes, given: Given) -> ir.Value:
    return _any(nodes, given.x, keepdims=False)


@write.register
def _(layer: Logical, nodes: Nodes, given: Given) -> ir.Value:
    return nodes.op("Or" if layer.operation == "or" else "And", *given.values)


@write.register
def _(layer: ExpandDims, nodes: Nodes, given: Given) -> ir.Value:
    return nodes.unsqueeze(given.x, layer.axis)


@write.register
def _(layer: FilledLike, nodes: Nodes, given: Given) -> ir.Value:
    number = nodes.writer.constant(np.array(layer.value), f"{nodes.name}.value")
    return nodes.op("Expand", number, nodes.op("Shape", given.x))


@write.register
def _(layer: Unchanged, nodes: Nodes, given: Given) -> ir.Value:
    return given.x


@write.register
def _(layer: Select, nodes: Nodes, given: Given) -> ir.Value:
    otherwise = given.values[2] if len(given.values) > 2 else nodes.floats(layer.otherwise, "otherwise")
    return nodes.op("Where", given.values[1], given.x, otherwise)
