"""Progress in a notebook: one line below the cell, which says what is being done and in the end how long it took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


@contextlib.contextmanager
def progress_line(what: str) -> Iterator[Callable[[str], None]]:
    """Show a line while the block runs; what it yields replaces the line's text."""
    from IPython.display import display

    started = time.monotonic()
    line = display({"text/plain": f"{what} …"}, raw=True, display_id=True)

    def show(text: str) -> None:
        line.update({"text/plain": text}, raw=True)

    try:
        yield lambda message: show(f"{what}: {message}")
    finally:
        show(f"{what}: {time.monotonic() - started:.0f} s")
