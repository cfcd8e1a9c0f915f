"""Python's collector of cyclic garbage, which takes a fifth of a short process: it walks every object, again and again.

Importing PyTorch's exporter makes a million objects, and next to no garbage.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 50_000
"""How many there are before the collector looks at them; Python's own number is 700."""


@contextmanager
def few_collections() -> Iterator[None]:
    """Collect rarely for as long as the context lasts; a process that never collects still does not."""
    first, *others = gc.get_threshold()
    gc.set_threshold(first and max(first, _NEW_OBJECTS), *others)
    try:
        yield
    finally:
        gc.set_threshold(first, *others)
