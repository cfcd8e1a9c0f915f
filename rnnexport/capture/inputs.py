"""What the user says about a module's inputs: name, element type and shape.

    tokens:int64[batch,time] in 0..99     x:float32[batch,time>=400,12]     scale:float32[]     hx.0:float32[1,batch,32]

1. A word in the shape is a symbolic dimension: dynamic, and the same size wherever the word is used. `time>=400` and
   `time%4==0` say which sizes the module takes.
2. `hx.0`, `hx.1` are the items of a tuple argument `hx`; `state.h` is a field of a class or a key of a dictionary.
3. `in 100..120` says which values the module takes, both ends included.
4. What cannot be read is refused with the text that was given and an example of what can.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rnnexport.errors import InputError

DTYPES = ("float32", "float16", "float64", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_NUMBER = r"-?\d+(?:\.\d+)?"
_SPEC = re.compile(
    r"\s*([A-Za-z_]\w*(?:\.\w+)*)\s*:\s*(\w+)\s*\[([^\[\]]*)\]"
    rf"(?:\s+in\s+({_NUMBER})\s*\.\.\s*({_NUMBER}))?\s*",
    re.ASCII,
)
_SIZES = re.compile(r"([A-Za-z_]\w*)\s*(?:>=\s*(\d+)|%\s*(\d+)\s*==\s*0)?", re.ASCII)
_EXAMPLE = "write it like 'x:float32[batch,time,12]'"


@dataclass(frozen=True, slots=True)
class SizeRange:
    """The sizes `minimum`, `minimum + step`, `minimum + 2 step` and so on."""

    minimum: int = 1
    step: int = 1

    def at_least(self, size: int) -> int:
        """The smallest of the sizes that is no smaller than `size`."""
        return self.minimum + max(0, -(-(size - self.minimum) // self.step)) * self.step

    def holds(self, size: int) -> bool:
        """Whether `size` is one of the sizes."""
        return self.at_least(size) == size

    def described(self, dimension: str) -> str:
        """Such as `time >= 8 in steps of 4`."""
        return f"{dimension} >= {self.minimum}" + (f" in steps of {self.step}" if self.step > 1 else "")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a module."""

    name: str
    """The parameter of `forward`; with dots, a place inside a tuple, dictionary or class."""
    dtype: str
    """One of `DTYPES`."""
    shape: tuple[int | str, ...]
    """A `str` is a symbolic dimension."""
    values: tuple[float, float] | None = None
    """The smallest and the largest value that the module takes, where they are stated."""
    sizes: Mapping[str, SizeRange] = field(default_factory=dict, hash=False)
    """The sizes of symbolic dimensions, where they are stated."""


def parse_input_spec(text: str) -> InputSpec:
    """Read `name:dtype[dimension,…]`, with `in low..high` after it where the values have a range.

    Raises:
        InputError: The text is not of that form, the element type is unknown, a dimension is neither a name nor a
            positive number, or the range is empty.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise InputError(f"input {text!r} cannot be read; {_EXAMPLE}")
    name, dtype, dimensions, low, high = match.groups()
    if dtype not in DTYPES:
        raise InputError(f"input {text!r}: element type {dtype!r} is unknown; choose one of: {', '.join(DTYPES)}")
    parts = [part.strip() for part in dimensions.split(",")] if dimensions.strip() else []
    shape, sizes = [], {}
    for part in parts:
        dimension, stated = _dimension(part, text)
        shape.append(dimension)
        if isinstance(dimension, str) and stated is not None:
            sizes[dimension] = stated
    values = (float(low), float(high)) if low is not None else None
    if values is not None and values[0] > values[1]:
        raise InputError(f"input {text!r}: there is no value from {low} to {high}")
    return InputSpec(name, dtype, tuple(shape), values, sizes)


def stated_sizes(inputs: Iterable[InputSpec]) -> dict[str, SizeRange]:
    """Gather what the inputs say of the sizes of their dimensions.

    Raises:
        InputError: Two inputs say different things of one dimension.
    """
    stated: dict[str, SizeRange] = {}
    for spec in inputs:
        for dimension, sizes in spec.sizes.items():
            if stated.setdefault(dimension, sizes) != sizes:
                both = " and ".join(found.described(dimension) for found in (stated[dimension], sizes))
                raise InputError(f"the inputs contradict each other: they say {both}; state the sizes once")
    return stated


def symbolic_dimensions(inputs: Iterable[InputSpec]) -> list[str]:
    """Name each symbolic dimension once, in order."""
    return list(dict.fromkeys(d for spec in inputs for d in spec.shape if isinstance(d, str)))


def _dimension(part: str, text: str) -> tuple[int | str, SizeRange | None]:
    if part.isascii() and part.isdigit() and int(part) > 0:
        return int(part), None
    match = _SIZES.fullmatch(part)
    if match is None or int(match[2] or 1) < 1 or int(match[3] or 1) < 1:
        raise InputError(f"input {text!r}: dimension {part!r} is neither a name nor a positive number; {_EXAMPLE}")
    name, minimum, step = match.groups()
    if step is not None:
        return name, SizeRange(int(step), int(step))
    return name, SizeRange(int(minimum)) if minimum is not None else None
