"""Resize: along each axis a matrix of weights, since every mode but the coordinates' is separable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import NoReferenceError
from rnnexport.parity.float64.node import GraphNode, Kernel

_Float64 = NDArray[np.float64]


def _resize(
    node: GraphNode,
    x: NDArray[Any],
    roi: NDArray[Any] | None = None,
    scales: NDArray[Any] | None = None,
    sizes: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], ...]:
    axes = [axis % x.ndim for axis in node.get("axes", range(x.ndim))]
    lengths = np.array([x.shape[axis] for axis in axes])
    if scales is not None and scales.size:
        factors = np.asarray(scales, np.float64)
        targets = np.floor(factors * lengths).astype(int)
    else:
        assert sizes is not None
        factors, targets = _from_sizes(node, lengths, np.asarray(sizes))
    regions = np.zeros((2, len(axes))) if roi is None or not roi.size else roi.reshape(2, -1)
    cropped = node.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    y = x
    for axis, length, target, factor, start, end in zip(axes, lengths, targets, factors, *regions, strict=True):
        if factor == 1 and target == length and not cropped:
            continue
        positions = _positions(node, int(length), int(target), float(factor), float(start), float(end))
        weights = _weights(node, positions, int(length), float(factor))
        y = np.moveaxis(np.tensordot(weights, y, (1, axis)), 0, axis)
        if cropped:
            outside = (positions < 0) | (positions > length - 1)
            np.moveaxis(y, axis, 0)[outside] = node.get("extrapolation_value", 0.0)
    return (y if y.dtype == x.dtype else y.astype(x.dtype),)


def _from_sizes(node: GraphNode, lengths: NDArray[Any], sizes: NDArray[Any]) -> tuple[_Float64, NDArray[Any]]:
    factors = sizes / lengths
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return factors, sizes
    factor = factors.min() if policy == "not_larger" else factors.max()
    return np.full(len(lengths), factor), np.floor(factor * lengths + 0.5).astype(int)


def _positions(node: GraphNode, length: int, target: int, factor: float, start: float, end: float) -> _Float64:
    """Where on the axis before resizing each element after resizing lies."""
    x = np.arange(target, dtype=np.float64)
    match node.get("coordinate_transformation_mode", "half_pixel"):
        case "half_pixel":
            return (x + 0.5) / factor - 0.5
        case "half_pixel_symmetric":
            offset = length / 2 * (1 - target / (factor * length))
            return offset + (x + 0.5) / factor - 0.5
        case "pytorch_half_pixel":
            return (x + 0.5) / factor - 0.5 if target > 1 else np.zeros(target)
        case "align_corners":
            if abs(target - factor * length) > 1e-4:  # onnx divides by factor * length - 1, ONNX Runtime by target - 1
                raise NoReferenceError("Resize that aligns corners by a scale which gives no whole length")
            return x * (length - 1) / (target - 1) if target > 1 else np.zeros(target)
        case "asymmetric":
            return x / factor
        case "tf_half_pixel_for_nn":
            return (x + 0.5) / factor
        case "tf_crop_and_resize" if target > 1:
            return start * (length - 1) + x * (end - start) * (length - 1) / (target - 1)
        case "tf_crop_and_resize":
            return np.full(target, 0.5 * (start + end) * (length - 1))
        case mode:
            raise ValueError(f"coordinate_transformation_mode {mode!r}")


def _weights(node: GraphNode, positions: _Float64, length: int, factor: float) -> _Float64:
    """What each element after resizing takes of each before: [target, length]."""
    mode = node.get("mode", "nearest")
    matrix = np.zeros((len(positions), length))
    rows = np.arange(len(positions))[:, None]
    if mode == "nearest":
        nearest = _NEAREST[node.get("nearest_mode", "round_prefer_floor")](positions)
        matrix[rows[:, 0], np.clip(nearest, 0, length - 1).astype(int)] = 1
        return matrix
    a = node.get("cubic_coeff_a", -0.75)
    kernel, reach = (_triangle, 1) if mode == "linear" else (lambda d: _cubic(d, a), 2)
    narrowing = min(factor, 1.0) if node.get("antialias", 0) else 1.0
    reach = int(np.ceil(reach / narrowing))
    taps = np.floor(positions)[:, None] + np.arange(1 - reach, reach + 1)
    weights = kernel((taps - positions[:, None]) * narrowing)
    if node.get("exclude_outside", 0):
        weights = np.where((taps < 0) | (taps >= length), 0, weights)
    if node.get("exclude_outside", 0) or narrowing < 1:
        weights = weights / weights.sum(1, keepdims=True)
    np.add.at(matrix, (rows, np.clip(taps, 0, length - 1).astype(int)), weights)
    return matrix


_NEAREST: dict[str, Callable[[_Float64], _Float64]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _triangle(distance: _Float64) -> _Float64:
    return np.asarray(np.maximum(1 - np.abs(distance), 0))


def _cubic(distance: _Float64, a: float) -> _Float64:
    """Keys 1981, "Cubic convolution interpolation for digital image processing"."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0)))


KERNELS: dict[str, Kernel] = {"Resize": _resize}
