"""How the work in hand was asked for: every result that is kept says by which command it can be made again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_INVOCATION: ContextVar[str | None] = ContextVar("invocation", default=None)


@contextlib.contextmanager
def invoked_as(call: str) -> Iterator[None]:
    """Let `call`, a command line or a call of Python, be what the block was asked for by; the outermost counts."""
    token = _INVOCATION.set(_INVOCATION.get() or call)
    try:
        yield
    finally:
        _INVOCATION.reset(token)


def invocation() -> str | None:
    """Return the command line or the call that the work was asked for by; `None` where nobody said it."""
    return _INVOCATION.get()
