"""Where output goes: data to stdout, talk to stderr; one JSON document, or tables for people."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rnnexport.errors import InputError, RnnexportWarning

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNLIMITED = 10_000
"""Columns of a table that goes to a file or a pipe, unless COLUMNS says otherwise."""
_PROGRESS_SECONDS = 10
"""How often something that takes long says so, where stderr is no terminal."""


def print_result(result: Any, tables: Sequence[RenderableType], *, as_json: bool) -> None:
    """Print a result of the library (a pydantic model or dataclass, or a list of them) as tables or as JSON."""
    try:
        _print(result, tables, as_json=as_json)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        forget(sys.stdout)
        raise InputError(f"cannot write to standard output: {exc.strerror}") from exc


def forget(stream: Any) -> None:
    """Send what a stream still holds nowhere, so that the end of the process does not try it again."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def _print(result: Any, tables: Sequence[RenderableType], *, as_json: bool) -> None:
    if as_json:
        from pydantic_core import to_json

        print(to_json(result, indent=1, inf_nan_mode="null").decode())
        return
    from rnnexport.report.fitting import PlainConsole, print_fitted

    own_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    print_fitted(PlainConsole(width=None if own_width else _UNLIMITED), tables)


def say(message: str) -> None:
    """Tell the person something that is no result."""
    safe = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in message)
    with contextlib.suppress(OSError):  # standard error is closed or full; nobody listens
        print(safe, file=sys.stderr, flush=True)


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print our own warnings as one line each; those of others, as Python does, but for what NumPy says of NaN."""
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
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("always", RnnexportWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def progress(what: str, *, in_lines: bool = False) -> Iterator[Callable[[str], None]]:
    """Show what is going on while the block runs; off a terminal, now and then in a line, or `in_lines`."""
    if not sys.stderr.isatty():
        yield from _progress_in_lines(what, every=in_lines)
        return
    from rich.text import Text

    from rnnexport.report.fitting import PlainConsole, printable

    with PlainConsole(stderr=True).status(Text(printable(what))) as status:
        yield lambda message: status.update(Text(printable(f"{what}: {message}")))


def _progress_in_lines(what: str, *, every: bool) -> Iterator[Callable[[str], None]]:
    """Say each message, or every few seconds the last one."""
    ended, last, started = threading.Event(), [what], time.monotonic()

    def remember(message: str) -> None:
        last[0] = f"{what}: {message}"
        if every:
            say(last[0])

    def repeat() -> None:
        while not ended.wait(_PROGRESS_SECONDS):
            if not every:
                say(f"{last[0]} ({time.monotonic() - started:.0f} s)")

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield remember
    finally:
        ended.set()
        thread.join()


def tell_shadowed(runtimes: Sequence[str | Path]) -> None:
    """Say which of the runtimes named is a local definition that hides a shipped one."""
    from rnnexport.runtime.definitions import shadowing_notice

    for notice in filter(None, map(shadowing_notice, runtimes)):
        say(notice)
