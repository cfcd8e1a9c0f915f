"""Modules that onnx_ir imports at once and needs for arithmetic on symbolic dimensions only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_RARELY_USED = ("sympy", "onnx_ir._symbolic_shapes")


class _Lazily:
    """A finder whose modules are executed at the first use of an attribute."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _RARELY_USED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def import_rarely_used_lazily() -> None:
    """Put off SymPy, which takes longer to import than most commands run; for processes of our own only."""
    if _Lazily not in sys.meta_path:
        sys.meta_path.insert(0, _Lazily)
