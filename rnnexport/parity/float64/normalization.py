"""Normalisations, straight from the specification."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import NoReferenceError
from rnnexport.parity.float64.node import GraphNode, Kernel

_Arrays = tuple[NDArray[Any], ...]


def _batch_normalization(
    node: GraphNode, x: NDArray[Any], scale: NDArray[Any], b: NDArray[Any], mean: NDArray[Any], var: NDArray[Any]
) -> _Arrays:
    """X [N, C, *], the others [C]. Before opset 14 training is told by the number of outputs, and is not computed."""
    if node.since_version < 14 and len([name for name in node.outputs if name]) > 1:
        raise NoReferenceError("BatchNormalization in training mode before opset 14")
    results: _Arrays = ()
    if node.get("training_mode", 0):
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        momentum = node.get("momentum", 0.9)
        batch_mean, batch_var = x.mean(axes), x.var(axes)
        results = (
            mean * momentum + batch_mean * (1 - momentum),
            var * momentum + batch_var * (1 - momentum),
        )
        mean, var = batch_mean, batch_var
    mean, var, scale, b = (_per_channel(each, x) for each in (mean, var, scale, b))
    return ((x - mean) / np.sqrt(var + node.get("epsilon", 1e-5)) * scale + b, *results)


def _instance_normalization(node: GraphNode, x: NDArray[Any], scale: NDArray[Any], b: NDArray[Any]) -> _Arrays:
    normal, *_ = _normalized(x, tuple(range(2, x.ndim)), node.get("epsilon", 1e-5))
    return (normal * _per_channel(scale, x) + _per_channel(b, x),)


def _group_normalization(node: GraphNode, x: NDArray[Any], scale: NDArray[Any], b: NDArray[Any]) -> _Arrays:
    """Scale and bias are one for each group before opset 21, one for each channel since."""
    groups = node.get("num_groups")
    grouped = x.reshape(x.shape[0], groups, -1)
    normal, *_ = _normalized(grouped, (2,), node.get("epsilon", 1e-5))
    if node.since_version < 21:
        scale, b = (np.repeat(each, x.shape[1] // groups) for each in (scale, b))
    return (normal.reshape(x.shape) * _per_channel(scale, x) + _per_channel(b, x),)


def _layer_normalization(
    node: GraphNode, x: NDArray[Any], scale: NDArray[Any], b: NDArray[Any] | None = None
) -> _Arrays:
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    normal, mean, inverse = _normalized(x, axes, node.get("epsilon", 1e-5))
    return normal * scale + (0 if b is None else b), mean, inverse


def _mean_variance_normalization(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    axes = tuple(node.get("axes", (0, 2, 3)))
    return ((x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 1e-9),)


def _normalized(x: NDArray[Any], axes: tuple[int, ...], epsilon: float) -> _Arrays:
    """X with mean 0 and variance 1 over some axes, the mean, and 1 / the standard deviation."""
    mean = x.mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(x.var(axes, keepdims=True) + epsilon)
    return (x - mean) * inverse, mean, inverse


def _per_channel(array: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """[C] → an array that fits x [N, C, *]."""
    return array.reshape(-1, *[1] * (x.ndim - 2)) if x.ndim > 1 else array


KERNELS: dict[str, Kernel] = {
    "BatchNormalization": _batch_normalization,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "MeanVarianceNormalization": _mean_variance_normalization,
}
