"""`lengths.max().item()`: the length of the longest row, which masks are made of.

1. It is one number, however often a module asks for it, and `pad_packed_sequence` pads to it: two symbols would not fit
   each other.
2. Where it must be the size of a dimension (a mask of that many steps beside the whole series), the module takes only
   lengths of which the longest is that size: it is taken for the size itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import SymInt, Tensor

from rnnexport.capture.failures import users_frame
from rnnexport.capture.integers import IntegerOfSizeError

_SAME = {Tensor.cpu, Tensor.to, Tensor.long, Tensor.int, Tensor.detach, Tensor.contiguous, Tensor.clone, Tensor.type}
_ORDERED = {torch.sort, Tensor.sort}
_MAXIMA = {torch.max, Tensor.max, torch.amax, Tensor.amax}


class Longest:
    """Follows lists of integers to their maximum, and that to the number it becomes.

    Args:
        size: The size that the number is taken for, or nothing.
    """

    def __init__(self, size: Callable[[], SymInt] | None) -> None:
        self.size = size
        self.asked = False
        """Whether there was such a number."""
        self._roots: dict[int, tuple[Tensor, Tensor]] = {}
        self._maxima: dict[int, tuple[Tensor, Tensor]] = {}
        self._numbers: dict[int, Any] = {}

    def note(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        """Remember what a function gave."""
        if not args or not isinstance(args[0], Tensor) or args[0].is_floating_point():
            return
        if func in _SAME and isinstance(result, Tensor):
            self._roots[id(result)] = result, self._root(args[0])
        elif func in _ORDERED:
            self._roots[id(result[0])] = result[0], self._root(args[0])
        elif func in _MAXIMA and len(args) == 1 and not kwargs and args[0].dim() == 1:
            self._maxima[id(result)] = result, self._root(args[0])

    def number(self, x: Tensor, item: Callable[[], Any]) -> Any:
        """The number in `x`, which is `item()` where `x` is no such maximum."""
        _, root = self._maxima.get(id(x), (x, None))
        if root is None:
            return item()
        self.asked = True
        if self.size is not None:
            return self.size()
        if id(root) not in self._numbers:
            found = self._numbers[id(root)] = item()
            torch._check(found >= 1)  # type: ignore[no-untyped-call]
        return self._numbers[id(root)]

    def is_one(self, x: Any) -> bool:
        """Whether `x` is such a maximum."""
        return id(x) in self._maxima

    def _root(self, x: Tensor) -> Tensor:
        return self._roots.get(id(x), (x, x))[1]


def ask_for_symbolic_integer() -> None:
    """Let the code that calls `int` of such a maximum, or `len`, have one that leaves it symbolic.

    Raises:
        IntegerOfSizeError: It has Python's own.
    """
    frame = users_frame()
    if frame is not None and "int" not in frame.f_globals:
        raise IntegerOfSizeError(frame.f_globals)
