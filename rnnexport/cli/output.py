"""Where output goes: data to stdout, talk to stderr; one JSON document, or tables for people."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPED_WIDTH = 140
"""Columns of a table that goes to a file or a pipe, which has no width of its own."""


def print_result(result: Any, tables: Sequence[RenderableType], *, as_json: bool) -> None:
    """Print a result of the library (a pydantic model or dataclass, or a list of them) as tables or as JSON."""
    if as_json:
        from pydantic_core import to_json

        print(to_json(result, indent=1, inf_nan_mode="null").decode())
        return
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    for table in tables:
        console.print(table)


def say(message: str) -> None:
    """Tell the person something that is no result."""
    print(message, file=sys.stderr)


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print our own warnings as one line each; those of others, as Python does."""
    from rnnexport.errors import RnnexportWarning

    python_shows = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, RnnexportWarning):
            say(f"rnnexport: {message}")
        else:
            python_shows(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", RnnexportWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def progress(what: str, *, in_lines: bool = False) -> Iterator[Callable[[str], None]]:
    """Show what is going on while the block runs; where stderr is no terminal, nothing, or `in_lines`."""
    if not sys.stderr.isatty():
        yield (lambda message: say(f"{what}: {message}")) if in_lines else (lambda _: None)
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda message: status.update(f"{what}: {message}")


def tell_shadowed(runtimes: Sequence[str | Path]) -> None:
    """Say which of the runtimes named is a local definition that hides a shipped one."""
    from rnnexport.runtime.definitions import shadowing_notice

    for notice in filter(None, map(shadowing_notice, runtimes)):
        say(notice)
