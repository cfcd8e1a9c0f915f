"""`torch.stft` and `torch.istft` as convolutions with the sines and cosines of their frequencies.

1. ONNX's own operator STFT is not converted by OpenVINO, and there is none for the way back.
2. The transform of a frame of n samples is a product with 2·(n/2 + 1) rows: a convolution whose stride is the hop.
3. The way back adds the frames where they overlap, and divides by the sum of the squared windows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_ORIGINAL_STFT, _ORIGINAL_ISTFT = torch.stft, torch.istft


def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    **others: Any,
) -> Tensor:
    """Do the work of `torch.stft`: [B, T] or [T] → [B, bins, frames], complex or with real and imaginary part last."""
    if input.is_complex() or others.get("align_to_window") is not None:
        options = (hop_length, win_length, window, center, pad_mode, normalized, onesided, return_complex)
        return _ORIGINAL_STFT(input, n_fft, *options, **others)
    x = input if input.dim() == 2 else input.unsqueeze(0)
    x = x.unsqueeze(1)
    if center:
        x = functional.pad(x, (n_fft // 2, n_fft // 2), pad_mode)
    rows = _waves(n_fft, onesided is not False).to(x.dtype) * _window(window, win_length, n_fft, x)
    both = functional.conv1d(x, rows.unsqueeze(1), stride=hop_length or n_fft // 4)
    if normalized:
        both = both * n_fft**-0.5
    bins = rows.shape[0] // 2
    real, imaginary = both[:, :bins], both[:, bins:]
    if input.dim() == 1:
        real, imaginary = real.squeeze(0), imaginary.squeeze(0)
    return torch.complex(real, imaginary) if return_complex else torch.stack([real, imaginary], -1)


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """Do the work of `torch.istft`: complex [B, bins, frames] or [bins, frames] → [B, T] or [T]."""
    if onesided is False or return_complex:
        options = (hop_length, win_length, window, center, normalized, onesided, length, return_complex)
        return _ORIGINAL_ISTFT(input, n_fft, *options)
    parts = torch.view_as_real(input)
    parts = parts if input.dim() == 3 else parts.unsqueeze(0)
    hop = hop_length or n_fft // 4
    frames = torch.cat([parts[..., 0], parts[..., 1]], 1)
    if normalized:
        frames = frames * n_fft**0.5
    own = _window(window, win_length, n_fft, frames)
    weights = torch.full((n_fft // 2 + 1,), 2.0, dtype=torch.float64)
    weights[0] = 1
    if n_fft % 2 == 0:
        weights[-1] = 1
    rows = _waves(n_fft, onesided=True) * (weights.repeat(2) / n_fft).unsqueeze(1)
    sums = functional.conv_transpose1d(frames, (rows.to(frames.dtype) * own).unsqueeze(1), stride=hop)
    ones = torch.ones_like(frames[:1, :1])
    squares = functional.conv_transpose1d(ones, (own * own).reshape(1, 1, n_fft), stride=hop)
    first = n_fft // 2 if center else 0
    sums, squares = sums[:, 0, first:], squares[:, 0, first:]
    if length is not None:
        found = sums[:, :length] / squares[:, :length]
        found = torch.cat([found, found.new_zeros(found.shape[0], length)], 1)[:, :length]
    else:
        found = (sums / squares)[:, : sums.shape[1] - first]
    return found if input.dim() == 3 else found.squeeze(0)


def _waves(n_fft: int, onesided: bool) -> Tensor:
    """[2·bins, n_fft]: the cosines, and below them the negative sines, of each frequency."""
    bins = n_fft // 2 + 1 if onesided else n_fft
    angles = 2 * math.pi * (np.outer(np.arange(bins), np.arange(n_fft)) % n_fft) / n_fft
    return torch.from_numpy(np.concatenate([np.cos(angles), -np.sin(angles)]))


def _window(window: Tensor | None, win_length: int | None, n_fft: int, like: Tensor) -> Tensor:
    """The window [n_fft], zero where it is shorter."""
    size = win_length or n_fft
    own = like.new_ones(size) if window is None else window.to(like.dtype)
    before = (n_fft - size) // 2
    return functional.pad(own, (before, n_fft - size - before)) if size < n_fft else own
