"""What a value is as a sum of products: the end of a cell, however it is written.

h + z ⊙ (n − h), (1 − z) ⊙ h + z ⊙ n and h − z ⊙ h + z ⊙ n are one polynomial. Its atoms are outputs of Sigmoid and
Tanh, told apart by what goes into them and which columns are taken, and any other values.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import optional_input
from rnnexport.passes.recognising.selections import Columns, Selections, without_identity

_MOST_TERMS = 6
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Atom:
    """A factor."""

    activation: str
    """`Sigmoid`, `Tanh`, or nothing."""
    value: ir.Value
    """What goes into the activation, or the value itself."""
    taken: bytes = b""
    columns: Columns | None = field(default=None, compare=False)
    """Columns of the activation; `None` for all."""


Polynomial = dict[frozenset[Atom], float]


class Products:
    """The polynomials of one model."""

    def __init__(self, selections: Selections, ends: Set[ir.Value]) -> None:
        """Values in `ends` are atoms within any other value's polynomial."""
        self._selections, self._ends = selections, ends
        self._known: dict[ir.Value, Polynomial] = {}

    def of(self, value: ir.Value) -> Polynomial:
        """The polynomial of a value, of which the value itself is no atom if it is a sum or product."""
        if value not in self._known:
            self._known[value] = self._expanded(value, 0)
        return self._known[value]

    def _expanded(self, value: ir.Value, depth: int) -> Polynomial:
        value = without_identity(value)
        array = self._selections.constants.of(value)
        if (
            array is not None
            and array.dtype.kind == "f"
            and array.size
            and np.all(array == array.flat[0])
            and array.flat[0]
        ):
            return {frozenset(): float(array.flat[0])}
        atom = {frozenset([self._atom(value)]): 1.0}
        node = value.producer()
        if node is None or depth > _DEEPEST or (depth and value in self._ends):
            return atom
        if node.op_type not in ("Add", "Sub", "Mul", "Neg") or any(each is None for each in node.inputs):
            return atom
        inner = [self._expanded(each, depth + 1) for each in node.inputs if each is not None]
        if node.op_type == "Neg":
            return {product: -factor for product, factor in inner[0].items()}
        first, second = inner
        sign = -1.0 if node.op_type == "Sub" else 1.0
        result = _times(first, second) if node.op_type == "Mul" else _plus(first, second, sign)
        return atom if len(result) > _MOST_TERMS else result

    def _atom(self, value: ir.Value) -> Atom:
        if value in self._ends:
            return Atom("", value)
        whole, columns = value, None
        node = whole.producer()
        while node is not None and (found := self._selections.columns(node, whole)) is not None:
            whole = found[0]
            columns = found[1] if columns is None else found[1][columns]
            node = whole.producer()
        activated = optional_input(node, 0) if node is not None and node.op_type in ("Sigmoid", "Tanh") else None
        if node is None or activated is None:
            return Atom("", value)
        if columns is None or np.array_equal(columns, np.arange(self._selections.width(whole) or 0)):
            return Atom(node.op_type, without_identity(activated))
        return Atom(node.op_type, without_identity(activated), columns.tobytes(), columns)


def _times(first: Polynomial, second: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for a, x in first.items():
        for b, y in second.items():
            if a & b:
                return {}  # a square: no cell has one
            result[a | b] = result.get(a | b, 0.0) + x * y
    return result


def _plus(first: Polynomial, second: Polynomial, sign: float) -> Polynomial:
    result = dict(first)
    for product, factor in second.items():
        result[product] = result.get(product, 0.0) + sign * factor
    return {product: factor for product, factor in result.items() if factor}
