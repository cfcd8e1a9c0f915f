"""Stand-ins for what the packages import besides PyTorch: only their networks are built.

The packages are installed without their dependencies. What they import of others becomes an empty module, whose names
can be called, subclassed and used as decorators, and compute nothing. So do the names of a bare package, whose modules
are there, but whose `__init__` is not run: it would start what belongs to training.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from abc import ABCMeta
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn


class _Kind(ABCMeta):
    """Any name of any class can be read."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _standing_for(name)

    def __iter__(cls) -> Iterator[Any]:
        return iter(())

    def __or__(cls, other: Any) -> Any:
        return Any

    __ror__ = __or__


class Absent(metaclass=_Kind):
    """What is not installed."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A decorator gives back what it decorates."""
        if cls.__module__ == __name__ and len(args) == 1 and not kwargs and callable(args[0]):
            return args[0]
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take anything."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take any option."""

    def __class_getitem__(cls, item: Any) -> Any:
        return cls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent()

    def __getitem__(self, item: Any) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def _standing_for(name: str) -> Any:
    if name == "LightningModule":
        return nn.Module
    return _Kind(name, (Absent,), {"__module__": __name__})


class _AbsentModule(types.ModuleType):
    __path__ = []  # noqa: RUF012 # a module's own
    __version__ = "99"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = _standing_for(name)
        setattr(self, name, value)
        return value


class AbsentFinder:
    """The first finder: finds every module of the packages in `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Find a module of theirs."""
        if name.partition(".")[0] not in self.names:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Make an empty module."""
        return _AbsentModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Fill it with nothing."""


class BareFinder:
    """Finds the packages in `names` without what their `__init__` does."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, name: str, path: Any = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Find one of them, with the folders of its modules."""
        found = importlib.machinery.PathFinder.find_spec(name, path) if name in self.names else None
        if found is None or found.submodule_search_locations is None:
            return None
        spec = importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Make an empty module."""
        return _AbsentModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Let it know its folders."""
        assert module.__spec__ is not None
        module.__path__ = list(module.__spec__.submodule_search_locations or ())


def let_absent(names: Sequence[str], bare: Sequence[str]) -> None:
    """Let the packages in `names` be empty, installed or not: the result is the same everywhere.

    Of the packages `bare`, `__init__` is not run.
    """
    sys.meta_path[:0] = [AbsentFinder(names), BareFinder(bare)]
