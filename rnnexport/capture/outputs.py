"""What a forward returns, as named tensors: people return dictionaries, dataclasses, named tuples, lists and `None`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.distributions import Distribution
from torch.nn.utils.rnn import PackedSequence

from rnnexport.errors import ExportError


@dataclasses.dataclass(frozen=True, slots=True)
class Outputs:
    """The parts of a result."""

    tensors: dict[str, Tensor]
    """By name, in the order in which forward gives them: `{"logits": …}` → `logits`, `(y, (h, c))` → `output_0`,
    `output_1_0`, `output_1_1`."""
    left_out: list[str]
    """Names of what is no tensor: `None`, numbers, texts."""


def named_outputs(result: Any) -> Outputs:
    """Take a result apart.

    Raises:
        ExportError: It holds a packed sequence, no tensor, or two tensors under one name.
    """
    tensors: dict[str, Tensor] = {}
    left_out = []
    for path, value in _leaves(result, ()):
        name = _name(path)
        if not isinstance(value, Tensor):
            left_out.append(name)
        elif name in tensors:
            raise ExportError(f"forward returns two tensors under the name {name!r}; rename one of them")
        else:
            tensors[name] = value
    if not tensors:
        raise ExportError(f"forward returns no tensor but a {type(result).__name__}")
    return Outputs(tensors, left_out)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, PackedSequence):
        raise ExportError("forward returns a PackedSequence; return what pad_packed_sequence makes of it")
    items: list[tuple[Any, Any]]
    if isinstance(value, Mapping):
        items = list(value.items())
    elif hasattr(value, "_fields"):
        items = list(zip(value._fields, value, strict=True))
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    elif isinstance(value, Distribution):
        items = _parameters(value)
    elif dataclasses.is_dataclass(value):
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    else:
        yield path, value
        return
    for key, item in items:
        yield from _leaves(item, (*path, str(key)))


def _parameters(distribution: Distribution) -> list[tuple[Any, Any]]:
    """What a distribution was made of; one that stands on another gives that one's, and says what it adds."""
    given = vars(distribution)
    names = [name for name in distribution.arg_constraints if name in given]
    inner = [("base", given["base_dist"])] if "base_dist" in given else []
    added = [("transform", transform) for transform in given.get("transforms", [])]
    return [*((name, given[name]) for name in names), *inner, *added]


def _name(path: tuple[str, ...]) -> str:
    name = "_".join(path)
    return name if name[:1].isalpha() else "_".join(["output", *path])
