"""What a value is as an affine map of others: value = Σ source · matrix + bias, along the last axis.

However the gates of a cell are written — one product or one for each gate, on [x, h] or apart, with Split, Slice or
Gather, with the weights transposed, scaled or negated — their maps are the same. Rules:

1. A product with constants ends the search: what it multiplies is a source, or several where it is a Concat.
2. A value that is no affine map of anything is a source as it is, and is said to be `direct`.
3. A time step of an affine map is the affine map of a time step, so projections made for all steps at once count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import optional_input
from rnnexport.passes.recognising.constants import Constants
from rnnexport.passes.recognising.selections import LARGEST_STATE, Columns, SelectedValue, Selections
from rnnexport.passes.recognising.shared_arrays import Array, SharedArrays


@dataclass(frozen=True, slots=True)
class Affine:
    """Σ source · matrix + bias."""

    terms: dict[SelectedValue, Array]
    """For each source of n columns the matrix [n, m]."""
    bias: Array
    """[m]."""
    direct: frozenset[SelectedValue] = frozenset()
    """Sources that no constants were multiplied with as a matrix."""


class AffineMaps:
    """The affine maps of one model, whose shapes must have been inferred."""

    def __init__(self, constants: Constants) -> None:
        self.constants = constants
        self.selections = Selections(constants)
        self.arrays = SharedArrays()
        self._known: dict[ir.Value, Affine | None] = {}

    def of(self, value: ir.Value) -> Affine | None:
        """The map of a value; `None` where its last axis has no known size."""
        if value not in self._known:
            self._known[value] = self._constant(value) or self._computed(value) or self._itself(value)
        return self._known[value]

    def take(self, affine: Affine, columns: Columns | None) -> Affine:
        """Some of the columns of a map."""
        if columns is None or np.array_equal(columns, np.arange(len(affine.bias))):
            return affine
        terms = {source: self.arrays.columns(matrix, columns) for source, matrix in affine.terms.items()}
        return Affine(terms, affine.bias[columns], affine.direct)

    def _constant(self, value: ir.Value) -> Affine | None:
        array = self.constants.of(value)
        if array is None or array.ndim == 0 or array.dtype != np.float32 or array.size > LARGEST_STATE:
            return None
        rows = array.reshape(-1, array.shape[-1])
        if len(rows) == 0 or np.any(rows != rows[0]):
            return None
        return Affine({}, rows[0].astype(np.float64))

    def _itself(self, value: ir.Value) -> Affine | None:
        width = self.selections.width(value)
        if width is None or value.dtype != ir.DataType.FLOAT:
            return None
        source = self.selections.source(value)
        return Affine({source: self.arrays.identity(width)}, np.zeros(width), frozenset([source]))

    def _computed(self, value: ir.Value) -> Affine | None:
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        rules: dict[str, Callable[[ir.Node], Affine | None]] = {
            "MatMul": self._matmul,
            "Gemm": self._gemm,
            "Add": lambda node: self._sum(node, [1.0, 1.0]),
            "Sum": lambda node: self._sum(node, [1.0] * len(node.inputs)),
            "Sub": lambda node: self._sum(node, [1.0, -1.0]),
            "Neg": lambda node: self._sum(node, [-1.0]),
            "Mul": self._scaled,
            "Div": self._scaled,
            "Concat": self._concatenated,
        }
        if node.op_type in rules:
            return rules[node.op_type](node)
        if found := self.selections.columns(node, value):
            inner = self.of(found[0])
            return self.take(inner, found[1]) if inner is not None else None
        return self._element(value)

    def _element(self, value: ir.Value) -> Affine | None:
        """Rule 3."""
        source = self.selections.source(value)
        if (
            source.axis is None
            or (inner := self.of(source.value)) is None
            or source.value in (s.value for s in inner.direct)
        ):
            return None
        if any(s.axis is not None or len(s.value.shape or ()) != len(source.value.shape or ()) for s in inner.terms):
            return None
        terms = {SelectedValue(s.value, source.axis, source.index): m for s, m in inner.terms.items()}
        return Affine(terms, inner.bias, frozenset(replace(source, value=s.value) for s in inner.direct))

    def _matmul(self, node: ir.Node) -> Affine | None:
        data, weight = optional_input(node, 0), self.constants.of(optional_input(node, 1))
        if data is None or weight is None or weight.ndim != 2 or weight.dtype != np.float32:
            return None
        return self._product(data, weight, np.zeros(weight.shape[1]))

    def _gemm(self, node: ir.Node) -> Affine | None:
        data, weight = optional_input(node, 0), self.constants.of(optional_input(node, 1))
        if data is None or weight is None or weight.dtype != np.float32 or node.attributes.get_int("transA", 0) != 0:
            return None
        alpha = node.attributes.get_float("alpha", 1.0)
        if node.attributes.get_int("transB", 0):
            weight = self.arrays.transposed(weight)
        product = self._product(data, self.arrays.scaled(weight, alpha), np.zeros(weight.shape[1]))
        added = optional_input(node, 2)
        if product is None or added is None:
            return product
        c = self.of(added) or self._scalar(added)
        return None if c is None else self._added([product, c], [1.0, node.attributes.get_float("beta", 1.0)])

    def _product(self, data: ir.Value, weight: Array, bias: Array) -> Affine | None:
        """Rule 1."""
        parts = self.parts(data)
        widths = [self.selections.width(part) for part in parts]
        known = sum(width for width in widths if width is not None)
        if widths.count(None) == 1:
            widths[widths.index(None)], known = len(weight) - known, len(weight)
        if None in widths or known != len(weight):
            return None
        terms: dict[SelectedValue, Array] = {}
        first = 0
        for part, width in zip(parts, widths, strict=True):
            source, last = self.selections.source(part), first + (width or 0)
            rows = self.arrays.rows(weight, first, last)
            terms[source] = terms[source] + rows if source in terms else rows
            first = last
        return Affine(terms, bias)

    def parts(self, data: ir.Value) -> list[ir.Value]:
        """What `data` is made of along its last axis."""
        node = data.producer()
        if node is None or node.op_type != "Concat" or data.shape is None:
            return [data]
        if node.attributes.get_int("axis", 0) not in (-1, len(data.shape) - 1):
            return [data]
        return [part for value in node.inputs if value is not None for part in self.parts(value)]

    def _sum(self, node: ir.Node, signs: list[float]) -> Affine | None:
        maps = [self.of(value) or self._scalar(value) if value is not None else None for value in node.inputs]
        known = [each for each in maps if each is not None]
        return self._added(known, signs) if len(known) == len(maps) else None

    def _scalar(self, value: ir.Value) -> Affine | None:
        array = self.constants.of(value)
        return Affine({}, array.reshape(1).astype(np.float64)) if array is not None and array.size == 1 else None

    def _added(self, maps: list[Affine], signs: list[float]) -> Affine | None:
        width = max(len(each.bias) for each in maps)
        if any(len(each.bias) != width and (each.terms or len(each.bias) != 1) for each in maps):
            return None
        terms: dict[SelectedValue, Array] = {}
        for each, sign in zip(maps, signs, strict=True):
            for source, matrix in each.terms.items():
                signed = self.arrays.scaled(matrix, sign)
                terms[source] = self.arrays.added(terms[source], signed) if source in terms else signed
        bias = sum((sign * each.bias for each, sign in zip(maps, signs, strict=True)), np.zeros(width))
        return Affine(terms, bias, frozenset().union(*(each.direct for each in maps)))

    def _scaled(self, node: ir.Node) -> Affine | None:
        """A map times, or divided by, constants."""
        first, second = node.inputs
        if first is None or second is None:
            return None
        factor, scaled = self.constants.of(second), first
        if factor is None and node.op_type == "Mul":
            factor, scaled = self.constants.of(first), second
        inner = self.of(scaled)
        if factor is None or inner is None or factor.dtype != np.float32 or factor.size not in (1, len(inner.bias)):
            return None
        row = factor.reshape(-1) if node.op_type == "Mul" else 1 / factor.reshape(-1)
        terms = {source: self.arrays.scaled(matrix, row) for source, matrix in inner.terms.items()}
        return Affine(terms, inner.bias * row, inner.direct)

    def _concatenated(self, node: ir.Node) -> Affine | None:
        """Several maps side by side."""
        rank = len(node.outputs[0].shape or ())
        if node.attributes.get_int("axis", 0) not in (-1, rank - 1):
            return None
        maps = [self.of(value) for value in node.inputs if value is not None]
        parts = [each for each in maps if each is not None]
        if len(parts) != len(node.inputs):
            return None
        sources = list(dict.fromkeys(source for part in parts for source in part.terms))
        rows = {source: len(part.terms[source]) for part in parts for source in part.terms}
        blank = self.arrays.zeros
        terms = {
            s: self.arrays.beside([p.terms[s] if s in p.terms else blank(rows[s], len(p.bias)) for p in parts])
            for s in sources
        }
        return Affine(terms, np.concatenate([p.bias for p in parts]), frozenset().union(*(p.direct for p in parts)))
