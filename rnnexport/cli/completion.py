"""What the shell offers after Tab: names of runtimes, tasks and bundles, found by their files alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path


def _runtimes(incomplete: str) -> list[str]:
    shipped = (each.name for each in files("rnnexport.runtimes").iterdir())
    local = (path.name for path in Path("runtimes").glob("*.toml"))
    names = {name.removesuffix(".toml") for name in (*shipped, *local) if name.endswith(".toml")}
    return sorted(name for name in names if name.startswith(incomplete))


def _tasks(incomplete: str) -> list[str]:
    names = (each.name for each in files("rnnexport.data").joinpath("tasks").iterdir())
    tasks = (name.removesuffix(".py") for name in names if name.endswith(".py") and not name.startswith("_"))
    return sorted(task for task in tasks if task.startswith(incomplete))


def _bundles(incomplete: str) -> list[str]:
    """Bundles two levels below what is typed, at most; where there is none, the shell offers files."""
    return sorted(bundle for bundle in _found_bundles(incomplete) if bundle.startswith(incomplete))


def _found_bundles(incomplete: str) -> Iterator[str]:
    folder, slash, _ = incomplete.rpartition("/")
    for pattern in ("*/manifest.json", "*/*/manifest.json"):
        for path in Path(folder + slash).glob(pattern):
            yield str(path.parent)


def _runtimes_and_bundles(incomplete: str) -> list[str]:
    return [*_runtimes(incomplete), *_bundles(incomplete)]


COMPLETIONS: dict[str, Callable[[str], list[str]]] = {
    "against": _runtimes_and_bundles,
    "bundle": _bundles,
    "bundles": _bundles,
    "models": _bundles,
    "runtime": _runtimes,
    "runtimes": _runtimes,
    "task": _tasks,
    "tasks": _tasks,
}
"""By the name of a command's parameter."""
