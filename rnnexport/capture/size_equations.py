"""Equations of sizes that a trace took for granted; whether they hold is checked in `dynamic_sizes.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torch.fx.experimental.symbolic_shapes import DimConstraints


@contextmanager
def unsolved_equations_left() -> Iterator[None]:
    """Let a trace stand whose equations PyTorch cannot solve: it fails on one that always holds."""
    original = DimConstraints.solve

    def solve(self: DimConstraints) -> None:
        self._raise_inconsistencies()
        with suppress(AssertionError, NotImplementedError, ValueError):
            original(self)

    try:
        DimConstraints.solve = solve  # type: ignore[method-assign]
        yield
    finally:
        DimConstraints.solve = original  # type: ignore[method-assign]
