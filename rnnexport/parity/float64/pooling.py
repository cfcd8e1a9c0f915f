"""Pooling, over a view of all windows."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rnnexport.parity.float64.convolution import same_or_given_pads
from rnnexport.parity.float64.node import GraphNode, Kernel

_Arrays = tuple[NDArray[Any], ...]


class _Windows:
    """Where the windows of a pooling node lie on x [N, C, *size]."""

    def __init__(self, node: GraphNode, x: NDArray[Any]) -> None:
        self.kernel = node.get("kernel_shape")
        axes = len(self.kernel)
        self.strides, self.dilations = node.get("strides", [1] * axes), node.get("dilations", [1] * axes)
        size = np.array(x.shape[2:])
        spans = (np.array(self.kernel) - 1) * np.array(self.dilations) + 1
        self.begin, self.end = same_or_given_pads(node, x.shape[2:], self.kernel, self.strides, self.dilations)
        strides = np.array(self.strides)
        room = size + self.begin + self.end - spans
        self.out = room // strides + 1
        if node.get("ceil_mode", 0):
            self.out = -(-room // strides) + 1
            # A window that would begin in the padding at the end is left out.
            self.out -= (self.out - 1) * strides >= size + self.begin
        self.overhang = np.maximum((self.out - 1) * strides + spans - size - self.begin - self.end, 0)

    def of(self, x: NDArray[Any], outside: Any, padding: Any) -> NDArray[Any]:
        """The elements of each window [*, *out, kernel elements], of an array whose last axes are the spatial ones."""
        axes = len(self.kernel)
        rest = [(0, 0)] * (x.ndim - axes)
        padded = np.pad(x, [*rest, *zip(self.begin, self.end, strict=True)], constant_values=padding)
        padded = np.pad(padded, [*rest, *((0, n) for n in self.overhang)], constant_values=outside)
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        view = sliding_window_view(padded, spans, tuple(range(x.ndim - axes, x.ndim)))
        chosen = [slice(0, (n - 1) * s + 1, s) for n, s in zip(self.out, self.strides, strict=True)]
        index: tuple[Any, ...] = (..., *chosen, *(slice(None, None, d) for d in self.dilations))
        view = view[index]
        return np.asarray(view.reshape(*view.shape[:-axes], -1))


def _max_pool(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    windows = _Windows(node, x)
    lowest = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
    elements = windows.of(x, lowest, lowest)
    if len(node.outputs) == 1:
        return (elements.max(-1),)
    size = x.shape[2:]
    order: Literal["C", "F"] = "F" if node.get("storage_order", 0) else "C"
    positions = windows.of(np.arange(np.prod(size)).reshape(size, order=order), -1, -1)
    first = elements.argmax(-1)
    chosen = np.take_along_axis(np.broadcast_to(positions, elements.shape), first[..., None], -1)[..., 0]
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(size))
    return elements.max(-1), chosen + planes * int(np.prod(size))


def _average_pool(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    windows = _Windows(node, x)
    counts = windows.of(np.ones(x.shape[2:]), 0, node.get("count_include_pad", 0)).sum(-1)
    return (windows.of(x, 0, 0).sum(-1) / counts,)


def _lp_pool(node: GraphNode, x: NDArray[Any]) -> _Arrays:
    p = node.get("p", 2)
    return ((np.abs(_Windows(node, x).of(x, 0, 0)) ** p).sum(-1) ** (1 / p),)


def _global_average_pool(_: GraphNode, x: NDArray[Any]) -> _Arrays:
    return (x.mean(tuple(range(2, x.ndim)), keepdims=True),)


def _global_max_pool(_: GraphNode, x: NDArray[Any]) -> _Arrays:
    return (x.max(tuple(range(2, x.ndim)), keepdims=True),)


KERNELS: dict[str, Kernel] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
}
