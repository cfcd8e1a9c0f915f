"""How a forward wants its inputs: dotted names become the tuple, list, dictionary or class that it takes."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rnnexport.capture.inputs import InputSpec
from rnnexport.errors import InputError


class Arguments:
    """The inputs of a module, by name where the names are parameters of its forward, else in order.

    Raises:
        InputError: The names or their number do not fit.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[InputSpec]) -> None:
        self.names = [spec.name for spec in inputs]
        self.types = _types(module)
        self.by_name = _is_by_name(module, list(nested(dict.fromkeys(self.names))))

    def call(self, module: nn.Module, tensors: Sequence[Tensor]) -> Any:
        """Call `module` with `tensors`, one for each input."""
        arguments = nested(dict(zip(self.names, tensors, strict=True)))
        if not self.by_name:
            return module(*(_as_type(value, kind) for value, kind in _with_types(arguments, [*self.types.values()])))
        return module(**{name: _as_type(value, self.types.get(name)) for name, value in arguments.items()})


def _with_types(arguments: dict[str, Any], kinds: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(arguments.values(), [*kinds, *[None] * len(arguments)], strict=False))


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Gather dotted names: `{"hx.0": h, "hx.1": c}` → `{"hx": (h, c)}`, `{"s.h": h}` → `{"s": {"h": h}}`."""
    groups: dict[str, Any] = {}
    for name, value in flat.items():
        head, _, rest = name.partition(".")
        if rest:
            groups.setdefault(head, _Group())[rest] = value
        else:
            groups[head] = value
    return {head: _container(value) if isinstance(value, _Group) else value for head, value in groups.items()}


class _Group(dict[str, Any]):
    """Tensors whose names begin alike, while they are gathered."""


class _Fields(dict[str, Any]):
    """A dictionary whose items are attributes, too: forward may read `batch["x"]` or `batch.x`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as exc:
            raise AttributeError(f"the inputs give no {name!r}, only {', '.join(self)}") from exc


def _container(items: dict[str, Any]) -> Any:
    inner = nested(items)
    return tuple(inner.values()) if all(key.isdigit() for key in inner) else _Fields(inner)


def _as_type(value: Any, kind: Any) -> Any:
    """Make what forward is annotated with, where that is a list or a class with fields."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        kind = next((option for option in typing.get_args(kind) if option is not type(None)), None)
    if isinstance(value, tuple) and (typing.get_origin(kind) or kind) is list:
        return list(value)
    if isinstance(kind, type) and (hasattr(kind, "_fields") or dataclasses.is_dataclass(kind)):
        try:
            return kind(**value) if isinstance(value, dict) else kind(*value)
        except TypeError as exc:
            raise InputError(f"the inputs do not make a {kind.__name__}: {exc}") from exc
    return value


def _types(module: nn.Module) -> dict[str, Any]:
    """The annotations of forward's parameters, in order; `None` where there is none that can be read."""
    parameters = inspect.signature(module.forward).parameters
    try:
        hints = typing.get_type_hints(module.forward)
    except Exception:  # names that only a type checker knows
        hints = {}
    return {name: hints.get(name) for name in parameters}


def _is_by_name(module: nn.Module, names: list[str]) -> bool:
    """Whether the inputs' names are parameters of forward; if none is, they are given in order.

    Raises:
        InputError: The names or their number do not fit.
    """
    signature = inspect.signature(module.forward)
    method = getattr(module.forward, "__name__", "forward")
    shown = f"{type(module).__name__}.{method}({', '.join(signature.parameters)})"
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    known = [name for name in names if name in signature.parameters or takes_any]
    if known and (strangers := [name for name in names if name not in known]):
        raise InputError(f"input {strangers[0]!r} is no parameter of {shown}")
    try:
        _ = signature.bind(**dict.fromkeys(names)) if known else signature.bind(*names)
    except TypeError as exc:
        raise InputError(f"inputs {', '.join(names)} do not fit {shown}: {exc}") from exc
    return bool(known)
