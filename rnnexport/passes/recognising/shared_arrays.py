"""Arithmetic on constant arrays that is done once: the same operation on the same arrays gives the same array.

An unrolled cell stands in a graph once for each step; so its weights, transposed or cut, are held once all the same.
The arrays must not be changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class SharedArrays:
    """The results of one model."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[Array, tuple[Array, ...]]] = {}
        """By the operation and the identities of its operands: the result, and the operands, which keep theirs so."""

    def _once(self, operation: tuple[object, ...], compute: Callable[..., Array], *operands: Array) -> Array:
        key = (*operation, *map(id, operands))
        if key not in self._known:
            self._known[key] = compute(*operands), operands
        return self._known[key][0]

    def zeros(self, rows: int, columns: int) -> Array:
        """A matrix of zeros."""
        return self._once(("zeros", rows, columns), lambda: np.zeros((rows, columns), np.float32))

    def identity(self, size: int) -> Array:
        """A matrix that changes nothing."""
        return self._once(("identity", size), lambda: np.eye(size, dtype=np.float32))

    def added(self, first: Array, second: Array) -> Array:
        """The sum."""
        return self._once(("added",), np.add, first, second)

    def scaled(self, matrix: Array, factor: float | Array) -> Array:
        """The matrix times a number, or each of its columns times one."""
        row = np.asarray(factor, np.float32)
        if row.size == 1 and row.item() == 1:
            return matrix
        return self._once(("scaled", row.tobytes()), lambda m: m * row, matrix)

    def transposed(self, matrix: Array) -> Array:
        """The matrix with rows and columns exchanged."""
        return self._once(("transposed",), np.transpose, matrix)

    def rows(self, matrix: Array, first: int, last: int) -> Array:
        """The rows from `first` to `last`."""
        return self._once(("rows", first, last), lambda m: m[first:last], matrix)

    def columns(self, matrix: Array, columns: NDArray[np.int64]) -> Array:
        """Some columns, in this order."""
        return self._once(("columns", columns.tobytes()), lambda m: m[:, columns], matrix)

    def beside(self, matrices: list[Array]) -> Array:
        """Matrices side by side."""
        return self._once(("beside",), lambda *each: np.concatenate(each, axis=1), *matrices)
