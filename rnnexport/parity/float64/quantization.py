"""Integers that stand for numbers: how they are made, and read.

Where ONNX rounds to an integer, the numbers before it are float32 by definition: their last bit decides on one unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import NoReferenceError
from rnnexport.parity.float64.node import GraphNode, Kernel

_Arrays = tuple[NDArray[Any], ...]
_NARROW = {"int4": (-8, 7), "uint4": (0, 15)}


def _quantize(node: GraphNode, x: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any] | None = None) -> _Arrays:
    from onnx import helper

    if zero_point is not None:
        dtype = zero_point.dtype
    else:
        element = node.get("output_dtype", 0)
        dtype = helper.tensor_dtype_to_np_dtype(element) if element else np.dtype(np.uint8)
    lowest, highest = _bounds(node, dtype)
    y = np.rint(x.astype(np.float32) / np.float32(_spread(node, scale, x))).astype(np.float64)
    return (np.clip(y + _spread(node, zero_point, x), lowest, highest).astype(dtype),)


def _dequantize(
    node: GraphNode, x: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any] | None = None
) -> _Arrays:
    _bounds(node, x.dtype)
    return ((x.astype(np.float64) - _spread(node, zero_point, x)) * _spread(node, scale, x),)


def _dynamic_quantize(_: GraphNode, x: NDArray[Any]) -> _Arrays:
    narrow = x.astype(np.float32)
    lowest, highest = np.minimum(narrow.min(), np.float32(0)), np.maximum(narrow.max(), np.float32(0))
    scale = (highest - lowest) / np.float32(255)
    zero = np.clip(np.rint(-lowest / scale), 0, 255) if scale else np.float32(0)
    y = np.clip(np.rint(narrow / scale) + zero, 0, 255) if scale else np.zeros_like(narrow)
    return y.astype(np.uint8), np.array(scale, np.float64), np.asarray(zero, np.uint8)


def _bounds(node: GraphNode, dtype: np.dtype[Any]) -> tuple[int, int]:
    if dtype.name in _NARROW:
        return _NARROW[dtype.name]
    if dtype.kind not in "iu":
        raise NoReferenceError(f"{node.op_type} of {dtype.name}")
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def _spread(node: GraphNode, parameter: NDArray[Any] | None, x: NDArray[Any]) -> NDArray[np.float64]:
    """A scale or a zero point, one for all, for each index of an axis or for each block of it, so that it fits x."""
    if parameter is None:
        return np.zeros(())
    array = parameter.astype(np.float64)
    if array.ndim == 0 or (array.size == 1 and array.ndim == 1):
        return array.reshape(())
    axis = node.get("axis", 1) % x.ndim
    if block := node.get("block_size", 0):
        return np.repeat(array, block, axis).take(np.arange(x.shape[axis]), axis)
    return array.reshape([-1 if i == axis else 1 for i in range(x.ndim)])


KERNELS: dict[str, Kernel] = {
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "QuantizeLinear": _quantize,
}
