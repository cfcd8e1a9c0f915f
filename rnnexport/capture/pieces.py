"""Cutting a dimension of any size into pieces, while a module is traced.

1. Pieces are written as slices: `chunk` and `split` have no ONNX form whose number of outputs may be symbolic.
2. Pieces of a fixed size are as many as the dimension has room for, which no graph can hold: refused with the place.
   Single steps or rows (`for row in x`) are a loop, which may be written after all.
3. A fixed number of pieces is right for some sizes only (`chunk(3)` of four steps gives two). The place is kept, for
   whoever judges the graph at such sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import SymInt, Tensor
from torch.overrides import TorchFunctionMode

from rnnexport.capture.failures import place_of_call
from rnnexport.errors import ExportError

_APART = {torch.unbind, Tensor.unbind}
_CUTS = {torch.split, Tensor.split, torch.chunk, Tensor.chunk, torch.tensor_split, Tensor.tensor_split}


class PiecesAsSlices(TorchFunctionMode):
    """Writes pieces as slices.

    Args:
        refuse_number: Refuses that a symbolic size becomes a number, if it follows from dimensions.
    """

    def __init__(self, refuse_number: Callable[[SymInt], None]) -> None:
        super().__init__()
        self.refuse_number = refuse_number
        self.places: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _APART:
            self.refuse_loop(*args, **kwargs)
        if func not in _CUTS:
            return func(*args, **kwargs)
        x, cut, axis = _arguments(*args, **kwargs)
        size: int | SymInt = x.shape[axis]
        if func in (torch.split, Tensor.split) and type(cut) is int and isinstance(size, SymInt):
            self.refuse(size, cut)
        if func in (torch.split, Tensor.split) and cut == 1:
            return tuple(_sliced(x, axis, [1] * size))
        pieces = func(*args, **kwargs)
        if not isinstance(size, SymInt):
            return pieces
        if not isinstance(cut, list | tuple):
            self.places.append(place_of_call())
        return tuple(_sliced(x, axis, [piece.shape[axis] for piece in pieces]))

    def refuse_loop(self, x: Tensor, dim: int = 0) -> None:
        """Say that the parts of one place each are as many as the size.

        Raises:
            FrozenDimensionError: The size is one of any number.
        """
        size: int | SymInt = x.shape[dim]
        if isinstance(size, SymInt):
            self.refuse_number(size)

    def refuse(self, size: SymInt, cut: int) -> None:
        """Say that the number of pieces grows with the size.

        Raises:
            ExportError: Always.
        """
        if cut == 1:
            self.refuse_number(size)
        raise ExportError(
            f"forward cuts a dimension of any size into pieces of {cut}, and a graph holds a fixed "
            f"number of pieces; reshape to [batch · pieces, {cut}, …], or give the dimension a fixed size"
        )


def _arguments(x: Tensor, *rest: Any, **kwargs: Any) -> tuple[Tensor, Any, int]:
    """The tensor, into what it is cut, and the axis."""
    given = [*rest, *(value for name, value in kwargs.items() if name != "dim")]
    axis = kwargs.get("dim", given[1] if len(given) > 1 else 0)
    return x, given[0], axis % x.dim()


def _sliced(x: Tensor, axis: int, sizes: Sequence[Any]) -> list[Tensor]:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(x[(*[slice(None)] * axis, slice(start, start + size))])
        start = start + size
    return pieces
