"""Sizes that follow from the size of a dimension: what a stride or a convolution without padding leaves of it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import sympy
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

_LARGEST = 1 << 24


@dataclass(frozen=True, slots=True)
class DerivedSize:
    """A size as an expression of the size of one dimension, with which it grows."""

    symbol: sympy.Symbol
    expression: sympy.Expr

    def at(self, size: Any) -> Any:
        """The derived size where the dimension has `size`, which may be symbolic."""
        return sympy_interp(PythonReferenceAnalysis, {self.symbol: size}, self.expression)

    def smallest(self, derived: int) -> int:
        """The smallest size of the dimension from which at least `derived` follows."""
        return bisect_left(range(_LARGEST), derived, key=self.at)


_SIZE = sympy.Symbol("size", integer=True)
ITSELF = DerivedSize(_SIZE, _SIZE)
"""The size of the dimension."""
