"""Cumulative operators that ONNX does not have, or only as a form that overflows: one Scan over the places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan


def cumulative(step: Callable[[Tensor, Tensor], Tensor], initial: float) -> Callable[..., Tensor]:
    """Return the operator whose result at each place is `step` of the result before it and what stands there.

    Args:
        step: Takes two tensors of one shape.
        initial: The result before the first place.
    """

    def operator(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
        rows = x.movedim(dim, 0).to(dtype or x.dtype)

        def combine(before: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            result = step(before, row)
            return result, result.clone()

        _, results = scan(combine, torch.full_like(rows[0], initial), rows)
        cumulated: Tensor = results.movedim(0, dim)
        return cumulated

    return operator


def _logaddexp(first: Tensor, second: Tensor) -> Tensor:
    top = torch.maximum(first, second)
    return torch.where(top.abs() == torch.inf, top, top + torch.log1p(torch.exp(-(first - second).abs())))


cumprod: Callable[..., Any] = cumulative(torch.mul, 1.0)
logcumsumexp: Callable[..., Any] = cumulative(_logaddexp, -torch.inf)
