"""What `loops.py` finds: a module's computation for any number of steps, as operations and loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch.utils._pytree import tree_leaves

from rnnexport.capture.failures import LoopError


@dataclass(frozen=True, slots=True)
class StepIndex:
    """The integer `per_length * number of steps + per_step * this step + constant`."""

    per_length: int
    per_step: int
    constant: int

    def at(self, length: Any, step: int = 0) -> Any:
        """The value for a number of steps, which may be symbolic, at one of them."""
        number = self.per_step * step + self.constant
        return self.per_length * length + number if self.per_length else number


@dataclass(frozen=True, slots=True)
class SizeIndex:
    """The integer `per_size * size of the dimension + constant`, where the steps are not as many as the size."""

    per_size: int
    constant: int

    def at(self, size: Any) -> Any:
        """The value for a size, which may be symbolic."""
        return self.per_size * size + self.constant


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is the same in every trace."""

    value: Any


@dataclass(frozen=True, slots=True)
class Outer:
    """A placeholder, by name, or the result of an operation outside all loops, by its position in the outline."""

    source: str | int


@dataclass(frozen=True, slots=True)
class Same:
    """The result of operation `offset` in the same step."""

    offset: int


@dataclass(frozen=True, slots=True)
class Previous:
    """The result of operation `offset` in the previous step, and before the first step `initial`."""

    offset: int
    initial: Any


@dataclass(frozen=True, slots=True)
class Element:
    """The result of operation `offset` of a finished loop at step `index`."""

    loop: int
    offset: int
    index: StepIndex


@dataclass(frozen=True, slots=True)
class Gathered:
    """The list of the results of operation `offset` at all steps of a finished loop."""

    loop: int
    offset: int
    reverse: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator; in `args` and `kwargs` the classes above stand for tensors and numbers."""

    target: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]

    def leaves(self) -> list[Any]:
        """The operands, those inside of lists too."""
        return tree_leaves((self.args, tuple(value for _, value in self.kwargs)))


@dataclass(frozen=True, slots=True)
class Loop:
    """Operations that repeat `count` times."""

    count: StepIndex
    body: tuple[Operation, ...]

    def has_equal_steps(self) -> bool:
        """Whether every step computes the same."""
        leaves = [leaf for operation in self.body for leaf in operation.leaves()]
        numbers = [leaf.index if isinstance(leaf, Element) else leaf for leaf in leaves]
        moving = any(isinstance(number, StepIndex) and number.per_step for number in numbers)
        return not moving and not any(isinstance(leaf, Previous) for leaf in leaves)


@dataclass(frozen=True, slots=True)
class Outline:
    """A module's computation for any number of steps."""

    items: tuple[Operation | Loop, ...]
    outputs: tuple[Any, ...]


class NoMatchError(LoopError):
    """Two traces do not follow one outline."""
