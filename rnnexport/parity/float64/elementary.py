"""Operators whose form depends on the version, on randomness or on types, straight from the specification."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rnnexport.errors import NoReferenceError
from rnnexport.parity.float64.node import GraphNode, Kernel
from rnnexport.parity.float64.widening import FLOATS

_Arrays = tuple[NDArray[Any], ...]


def _rows(node: GraphNode, x: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """What is normalised together, as an array and its axis: before opset 13 everything from `axis` on."""
    if node.since_version >= 13:
        return x, node.get("axis", -1)
    axis = node.get("axis", 1) % x.ndim
    return x.reshape(int(np.prod(x.shape[:axis])), -1), 1


def _softmax(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    rows, axis = _rows(node, x)
    powers = np.exp(rows - rows.max(axis, keepdims=True))
    return ((powers / powers.sum(axis, keepdims=True)).reshape(x.shape),)


def _log_softmax(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    rows, axis = _rows(node, x)
    shifted = rows - rows.max(axis, keepdims=True)
    return ((shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))).reshape(x.shape),)


def _hardmax(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    rows, axis = _rows(node, x)
    y = np.zeros_like(rows)
    np.put_along_axis(y, np.expand_dims(rows.argmax(axis), axis), 1, axis)
    return (y.reshape(x.shape),)


def _dropout(node: GraphNode, x: NDArray[Any], ratio: Any = None, training: Any = None) -> _Arrays:
    if training is not None and bool(training) and (ratio is None or float(ratio) > 0):
        raise NoReferenceError("Dropout in training mode, which is random")
    return x, np.ones(x.shape, x.dtype if node.since_version < 10 else np.bool_)


def _cast(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    return (_as_type(x, node.get("to")),)


def _cast_like(_: GraphNode, x: NDArray[Any], like: NDArray[Any]) -> _Arrays:
    from onnx import helper

    return (_as_type(x, helper.np_dtype_to_tensor_dtype(like.dtype)),)


def _as_type(x: NDArray[Any], element: int) -> NDArray[Any]:
    """X in another type, where every floating-point type of 16 bits and more is float64."""
    from onnx import TensorProto, helper

    dtype = np.dtype(np.float64) if element in FLOATS else helper.tensor_dtype_to_np_dtype(element)
    if not all(each.isbuiltin == 1 and each.kind in "fiub" for each in (x.dtype, dtype)):
        raise NoReferenceError(f"Cast from {x.dtype} to {TensorProto.DataType.Name(element).lower()}")
    return x.astype(dtype)


def _einsum(node: GraphNode, *operands: NDArray[Any]) -> _Arrays:
    return (np.asarray(np.einsum(node.get("equation"), *operands, optimize=True)),)


def _sigmoid(_: GraphNode, x: NDArray[Any]) -> _Arrays:
    return (special.expit(x),)


def _erf(_: GraphNode, x: NDArray[Any]) -> _Arrays:
    return (special.erf(x),)


def _celu(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    alpha = node.get("alpha", 1.0)
    return (np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha)),)


def _unsqueeze(node: GraphNode, x: NDArray[Any], axes: NDArray[Any] | None = None) -> _Arrays:
    return (np.expand_dims(x, tuple(node.get("axes", []) if axes is None else axes.ravel().tolist())),)


def _gelu(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    if node.get("approximate", "none") == "tanh":
        return (0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),)
    return (0.5 * x * (1 + special.erf(x / np.sqrt(2))),)


def _hard_swish(_: GraphNode, x: NDArray[Any]) -> _Arrays:
    return (x * np.clip(x / 6 + 0.5, 0, 1),)


def _mish(_: GraphNode, x: NDArray[Any]) -> _Arrays:
    return (x * np.tanh(np.logaddexp(0, x)),)


def _range(_: GraphNode, start: NDArray[Any], limit: NDArray[Any], delta: NDArray[Any]) -> _Arrays:
    count = max(int(np.ceil((limit - start) / delta)), 0)
    return ((start + np.arange(count) * delta).astype(start.dtype),)


KERNELS: dict[str, Kernel] = {
    "Cast": _cast,
    "CastLike": _cast_like,
    "Dropout": _dropout,
    "Celu": _celu,
    "Einsum": _einsum,
    "Erf": _erf,
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "Hardmax": _hardmax,
    "LogSoftmax": _log_softmax,
    "Mish": _mish,
    "Range": _range,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Unsqueeze": _unsqueeze,
}
