"""What the user says about a module's inputs: name, element type and shape.

    tokens:int64[batch,time]     x:float32[batch,time,12]     scale:float32[]     state.0:float32[1,batch,32]

1. A word in the shape is a symbolic dimension: dynamic, and the same size wherever the word is used.
2. `state.0`, `state.1` are the items of a tuple argument `state`; `state.h` is a key of a dictionary argument.
3. What cannot be read is refused with the text that was given and an example of what can.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rnnexport.errors import InputError

DTYPES = ("float32", "float16", "float64", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_SPEC = re.compile(r"\s*([A-Za-z_]\w*(?:\.\w+)*)\s*:\s*(\w+)\s*\[([^\[\]]*)\]\s*", re.ASCII)
_EXAMPLE = "write it like 'x:float32[batch,time,12]'"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a module."""

    name: str
    """The parameter of `forward`; with dots, a place inside a tuple or dictionary parameter."""
    dtype: str
    """One of `DTYPES`."""
    shape: tuple[int | str, ...]
    """A `str` is a symbolic dimension."""


def parse_input_spec(text: str) -> InputSpec:
    """Read `name:dtype[dimension,…]`.

    Raises:
        InputError: The text is not of that form, the element type is unknown, or a dimension is neither a name nor a
            positive number.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise InputError(f"input {text!r} cannot be read; {_EXAMPLE}")
    name, dtype, dimensions = match.groups()
    if dtype not in DTYPES:
        raise InputError(f"input {text!r}: element type {dtype!r} is unknown; choose one of: {', '.join(DTYPES)}")
    shape = tuple(_dimension(part.strip(), text) for part in dimensions.split(",")) if dimensions.strip() else ()
    return InputSpec(name, dtype, shape)


def _dimension(part: str, text: str) -> int | str:
    if part.isascii() and part.isdigit() and int(part) > 0:
        return int(part)
    if part.isascii() and part.isidentifier():
        return part
    raise InputError(f"input {text!r}: dimension {part!r} is neither a name nor a positive number; {_EXAMPLE}")
