"""Conv and ConvTranspose, by PyTorch in float64; it is imported where a file has them, since that takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import NoReferenceError
from rnnexport.parity.float64.node import GraphNode, Kernel

if TYPE_CHECKING:
    import torch


def _conv(node: GraphNode, x: NDArray[Any], w: NDArray[Any], b: NDArray[Any] | None = None) -> tuple[NDArray[Any], ...]:
    """X [N, C, *size], w [M, C / group, *kernel], b [M] → [N, M, *out]."""
    import torch
    from torch.nn import functional

    axes = _spatial_axes(node, x)
    strides, dilations = node.get("strides", [1] * axes), node.get("dilations", [1] * axes)
    begin, end = same_or_given_pads(node, x.shape[2:], w.shape[2:], strides, dilations)
    group = node.get("group", 1)
    if group == x.shape[1] > 1:
        sums = _depthwise(_padded(torch.from_numpy(x), begin, end).numpy(), w, strides, dilations)
        return (sums if b is None else sums + b.reshape(-1, *[1] * axes),)
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    y = convolve(
        _padded(torch.from_numpy(x), begin, end),
        torch.from_numpy(w),
        None if b is None else torch.from_numpy(b),
        strides,
        0,
        dilations,
        group,
    )
    return (y.numpy(),)


def _depthwise(x: NDArray[Any], w: NDArray[Any], strides: Sequence[int], dilations: Sequence[int]) -> NDArray[Any]:
    """One channel at a time, as a sum over the kernel's taps; PyTorch takes a product of matrices for each channel."""
    spans = (np.array(w.shape[2:]) - 1) * np.array(dilations) + 1
    counts = (np.array(x.shape[2:]) - spans) // np.array(strides) + 1
    channels = np.repeat(x, w.shape[0] // x.shape[1], 1) if w.shape[0] > x.shape[1] else x
    y = np.zeros((x.shape[0], w.shape[0], *counts))
    for tap in np.ndindex(*w.shape[2:]):
        steps = zip(tap, counts, strides, dilations, strict=True)
        taken: tuple[Any, ...] = (..., *(slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in steps))
        y += channels[taken] * w[(slice(None), 0, *tap)].reshape(-1, *[1] * len(tap))
    return y


def _conv_transpose(
    node: GraphNode, x: NDArray[Any], w: NDArray[Any], b: NDArray[Any] | None = None
) -> tuple[NDArray[Any], ...]:
    """X [N, C, *size], w [C, M / group, *kernel], b [M] → [N, M, *out].

    The whole result is computed, then cropped by the pads; what `output_padding` adds holds nothing but the bias.
    """
    import torch
    from torch.nn import functional

    axes = _spatial_axes(node, x)
    strides, dilations = node.get("strides", [1] * axes), node.get("dilations", [1] * axes)
    extra = np.array(node.get("output_padding", [0] * axes))
    transpose = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[axes - 1]
    full = transpose(
        torch.from_numpy(x), torch.from_numpy(w), stride=strides, groups=node.get("group", 1), dilation=dilations
    )
    mode = node.get("auto_pad", "NOTSET")
    wanted = node.get("output_shape")
    if wanted is None and mode.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if wanted is None:
        begin, end = _given_pads(node, axes)
    else:
        total = np.array(full.shape[2:]) + extra - np.array(wanted[-axes:])
        begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
        end = total - begin
    y = _padded(full, -begin, extra - end).numpy()
    return (y if b is None else y + b.reshape(-1, *[1] * axes),)


def same_or_given_pads(
    node: GraphNode, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return how much to pad at the begin and at the end of each spatial axis."""
    axes = len(size)
    mode = node.get("auto_pad", "NOTSET")
    if not mode.startswith("SAME"):
        return _given_pads(node, axes)
    spans = (np.array(kernel) - 1) * np.array(dilations) + 1
    outputs = -(-np.array(size) // np.array(strides))
    total = np.maximum((outputs - 1) * np.array(strides) + spans - np.array(size), 0)
    less = total // 2
    return (less, total - less) if mode == "SAME_UPPER" else (total - less, less)


def _given_pads(node: GraphNode, axes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The node's own pads, which count only where nothing else decides on them."""
    none = [0] * 2 * axes
    pads = np.array(node.get("pads", none) if node.get("auto_pad", "NOTSET") == "NOTSET" else none)
    return pads[:axes], pads[axes:]


def _spatial_axes(node: GraphNode, x: NDArray[Any]) -> int:
    axes = x.ndim - 2
    if not 1 <= axes <= 3:
        raise NoReferenceError(f"{node.op_type} of {axes} spatial axes")
    return axes


def _padded(x: torch.Tensor, begin: NDArray[Any], end: NDArray[Any]) -> torch.Tensor:
    """Zeros added, or elements cut off, at both ends of the spatial axes."""
    from torch.nn import functional

    return functional.pad(x, [int(n) for pair in zip(begin[::-1], end[::-1], strict=True) for n in pair])


KERNELS: dict[str, Kernel] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
