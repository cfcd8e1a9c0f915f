"""Inference libraries: one adapter per file, found by name.

To add a library: write one file with a class that meets `contract.Engine`, and register it in the entry-point group
`rnnexport.engines` (ours in pyproject.toml, others' in a package of their own). Nothing else needs an edit.
An adapter imports its library inside its methods, so that asking for one engine never loads another.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import cast

from rnnexport.engines.contract import Definition, Engine, SourceEngine
from rnnexport.errors import EngineError, UnknownNameError

GROUP = "rnnexport.engines"


def engine_names() -> list[str]:
    """The names of all registered engines, sorted; none is loaded."""
    return sorted(_registered(*sys.path).names)


def get_engine(name: str) -> Engine:
    """Load the adapter registered under `name`.

    Raises:
        UnknownNameError: No engine of that name is registered.
        EngineError: More than one package registers the name, or the adapter cannot be imported.
    """
    found = list(_registered(*sys.path).select(name=name))
    if not found:
        raise UnknownNameError("engine", name, engine_names())
    if len(found) > 1:
        raise EngineError(f"engine {name!r} is registered by {' and '.join(e.value for e in found)}; uninstall one")
    try:
        return cast(Engine, found[0].load()())
    except (Exception, SystemExit) as exc:
        raise EngineError(f"engine {name!r} ({found[0].value}) cannot be loaded: {type(exc).__name__}: {exc}") from exc


def is_ours(name: str) -> bool:
    """Whether an engine comes with rnnexport; one of another package may do anything when it is imported."""
    ours = __name__.partition(".")[0]
    return all(entry.module.partition(".")[0] == ours for entry in _registered(*sys.path).select(name=name))


def reads_source(definition: Definition) -> bool:
    """Whether the definition's engine runs a bundle's source model, and no ONNX file.

    Raises:
        UnknownNameError, EngineError: As `get_engine`.
    """
    return isinstance(get_engine(definition.engine), SourceEngine)


@cache
def _registered(*path: str) -> EntryPoints:
    """All registrations found on `path`: each look takes tens of milliseconds, and engines are asked for often."""
    return entry_points(group=GROUP)
