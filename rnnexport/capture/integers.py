"""`int(x.shape[1] / 2)`, `len(x)`, `range(x.shape[1])`: Python makes a number of a size, which freezes a dimension.

1. The trace is then made once more, with an `int`, a `len` and a `range` in the globals of the user's code that leave a
   symbolic number symbolic: `y[range(len(y)), lengths - 1]` takes a step of each row.
2. What goes through such a range, as a loop does, needs a number, and is refused at once: it would be traced through
   all its steps first.
"""

from __future__ import annotations

import builtins
import dis
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import SymFloat, SymInt, Tensor

from rnnexport.capture.failures import is_user_code

_ROUNDING = ("__ceil__", "__floor__", "__trunc__", "__round__")


class IntegerOfSizeError(Exception):
    """The user's code makes an `int` of a symbolic number."""

    def __init__(self, code: dict[str, Any]) -> None:
        """Take the globals of that code."""
        super().__init__("int() of a symbolic size")
        self.code = code


class _Meta(type):
    def __call__(cls, value: Any = 0, *base: Any) -> Any:
        if isinstance(value, SymInt):
            return value
        if isinstance(value, SymFloat):
            return math.floor(value)  # sizes are not negative, and ONNX has no other form
        if isinstance(value, Tensor):
            return value.item()
        return builtins.int(value, *base)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, builtins.int)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, builtins.int)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is builtins.int

    def __hash__(cls) -> int:
        return hash(builtins.int)


class _SymbolicInt(builtins.int, metaclass=_Meta):
    """Stands for `int` in the user's code."""


def _length(items: Any) -> Any:
    """Stands for `len` in the user's code."""
    return items.shape[0] if isinstance(items, Tensor) and items.dim() else builtins.len(items)


class SymbolicRange:
    """A range of symbolic bounds: code may index with it."""

    def __init__(self, refuse: Callable[[SymInt], None], *bounds: Any) -> None:
        self.refuse, self.bounds = refuse, bounds

    def __iter__(self) -> Iterator[int]:
        """Go through it, which needs numbers."""
        for bound in self.bounds:
            if isinstance(bound, SymInt):
                self.refuse(bound)
        return iter(builtins.range(*self.bounds))

    def __reversed__(self) -> Iterator[int]:
        """Go through it from its end."""
        return iter([*self][::-1])

    def tensor(self) -> Tensor:
        """Its numbers."""
        return torch.arange(*self.bounds)


class _RangeMeta(type):
    """Of what stands for `range` in the user's code."""

    refuse: Callable[[SymInt], None]

    def __call__(cls, *bounds: Any) -> Any:
        if any(isinstance(bound, SymInt) for bound in bounds):
            return SymbolicRange(cls.refuse, *bounds)
        return builtins.range(*bounds)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, builtins.range | SymbolicRange)


def _begins_a_loop(frame: FrameType) -> bool:
    """Whether the code goes at once through what it is calling, as `for t in range(n)` does."""
    following = (step for step in dis.get_instructions(frame.f_code) if step.offset > frame.f_lasti)
    return next((step.opname == "GET_ITER" for step in following if step.opname != "CACHE"), False)


@contextmanager
def integers_of_sizes(code: Sequence[dict[str, Any]], refuse: Callable[[SymInt], None]) -> Iterator[None]:
    """Let `int` and `len` of a symbolic number be symbolic in the code with these globals, and `int` elsewhere raise.

    Args:
        code: The globals.
        refuse: Is called with a symbolic size of which the user's code is about to make a number otherwise.

    Raises:
        IntegerOfSizeError: Other code of the user's makes an `int` of one.
    """
    index = SymInt.__index__
    originals = [(kind, kind.__int__) for kind in (SymInt, SymFloat)]
    rounded = {name: getattr(SymInt, name) for name in _ROUNDING}
    stand_ins = {
        "int": _SymbolicInt,
        "len": _length,
        "range": _RangeMeta("range", (), {"refuse": staticmethod(refuse)}),
    }
    shadowed = [(space, name) for space in code for name in stand_ins if name not in space]

    def caught(original: Any) -> Any:
        def to_int(number: Any) -> Any:
            frame = sys._getframe(1)
            asks = is_user_code(frame.f_code.co_filename) and "int" not in frame.f_globals
            if asks and not (isinstance(number, SymInt) and number.node.expr.is_number):
                raise IntegerOfSizeError(frame.f_globals)
            return original(number)

        return to_int

    def to_index(size: SymInt) -> int:
        frame = sys._getframe(1)
        if is_user_code(frame.f_code.co_filename) and not size.node.expr.is_number:
            if "range" not in frame.f_globals and not _begins_a_loop(frame):
                raise IntegerOfSizeError(frame.f_globals)
            refuse(size)
        number: int = index(size)  # type: ignore[no-untyped-call]
        return number

    try:
        for kind, original in originals:
            kind.__int__ = caught(original)  # type: ignore[method-assign]
        SymInt.__index__ = to_index  # type: ignore[method-assign]
        for name in rounded:  # an integer is rounded already, and ONNX rounds none
            setattr(SymInt, name, lambda number, *_digits: number)
        for space, name in shadowed:
            space[name] = stand_ins[name]
        yield
    finally:
        SymInt.__index__ = index  # type: ignore[method-assign]
        for kind, original in originals:
            kind.__int__ = original  # type: ignore[method-assign]
        for name, method in rounded.items():
            setattr(SymInt, name, method)
        for space, name in shadowed:
            del space[name]
