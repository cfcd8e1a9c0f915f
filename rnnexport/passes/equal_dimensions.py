"""Dimensions of different inputs that the graph makes equal have one name.

Converters from TensorFlow give every dynamic dimension a name of its own, also that of the batch in each input. Which
of them are equal is seen where inputs meet:

1. Operators that broadcast, where neither size is known to be 1, and Concat, along all axes but its own.
2. Recurrent operators: the batch of X, of `sequence_lens` and of the initial states. ReverseSequence likewise.
3. MatMul: the dimension that is summed over, and those in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise

import onnx_ir as ir

from rnnexport.onnx_files.nodes import optional_input
from rnnexport.onnx_files.operators import INITIAL_C, INITIAL_H, RECURRENT, SEQUENCE_LENS, X
from rnnexport.passes.output_shapes import infer_shapes

_ARITHMETIC = ("Add", "Div", "Max", "Mean", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where")
_LOGIC = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor")
_ROUNDS = 4
"""What is known to be equal lets inference find more shapes."""
_Size = int | ir.SymbolicDim


class EqualDimensions(ir.passes.InPlacePass):
    """Rename dimensions of the graph's inputs; see the rules of this module. The first name in their order stays."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rename in place; shapes inside the graph are left to inference."""
        modified = False
        for _ in range(_ROUNDS):
            if not _are_doubtful(model):
                break
            inferred = model.clone()
            infer_shapes(inferred)
            names = _EqualNames()
            for node in inferred.graph:
                for one, other in _equal(node):
                    names.join(one, other)
            if not _rename(model, names):
                break
            modified = True
        return ir.passes.PassResult(model, modified)


def _are_doubtful(model: ir.Model) -> bool:
    """Whether each of two inputs has a name of a dimension that the other has not."""
    symbols = [_symbols(value.shape or ()) for value in model.graph.inputs if value.const_value is None]
    return any(one - other and other - one for one, other in combinations(symbols, 2))


class _EqualNames:
    """Names in groups of equal dimensions."""

    def __init__(self) -> None:
        self._leader: dict[str, str] = {}

    def leader(self, name: str) -> str:
        while (above := self._leader.get(name, name)) != name:
            name = above
        return name

    def join(self, one: _Size, other: _Size) -> None:
        """Sizes that are equal; numbers and what has no name say nothing."""
        names = [size.value for size in (one, other) if isinstance(size, ir.SymbolicDim) and size.value]
        if len(names) == 2 and (first := self.leader(names[0])) != (second := self.leader(names[1])):
            self._leader[second] = first


def _rename(model: ir.Model, names: _EqualNames) -> bool:
    chosen: dict[str, str] = {}
    modified = False
    for value in model.graph.inputs:
        if value.shape is None:
            continue
        before = [*value.shape]
        value.shape = ir.Shape([_chosen(size, names, chosen) for size in before])
        modified |= before != [*value.shape]
    return modified


def _chosen(size: _Size, names: _EqualNames, chosen: dict[str, str]) -> int | str | None:
    if isinstance(size, int) or size.value is None:
        return size if isinstance(size, int) else None
    return chosen.setdefault(names.leader(size.value), size.value)


def _symbols(shape: Iterable[_Size]) -> set[str]:
    return {size.value for size in shape if isinstance(size, ir.SymbolicDim) and size.value}


def _equal(node: ir.Node) -> Iterator[tuple[_Size, _Size]]:
    """Pairs of sizes that a node makes equal."""
    shapes = [None if value is None or value.shape is None else [*value.shape] for value in node.inputs]
    known = [shape for shape in shapes if shape is not None]
    if node.op_type in (*_ARITHMETIC, *_LOGIC):
        yield from _aligned(known)
    elif node.op_type == "Concat" and known:
        own = node.attributes.get_int("axis", 0) % max(len(known[0]), 1)
        yield from _aligned([[1 if axis == own else size for axis, size in enumerate(shape)] for shape in known])
    elif node.op_type == "MatMul" and len(known) == len(shapes) and min(map(len, known)) > 1:
        yield known[0][-1], known[1][-2]
        yield from _aligned([shape[:-2] for shape in known])
    elif node.op_type in RECURRENT:
        layout = node.attributes.get_int("layout", 0)
        places = ((X, 1 - layout), (SEQUENCE_LENS, 0), (INITIAL_H, 1 - layout), (INITIAL_C, 1 - layout))
        yield from pairwise([size for place in places if (size := _size(node, *place)) is not None])
    elif node.op_type == "ReverseSequence":
        x, lengths = _size(node, 0, node.attributes.get_int("batch_axis", 1)), _size(node, 1, 0)
        if x is not None and lengths is not None:
            yield x, lengths


def _aligned(shapes: Sequence[Sequence[_Size]]) -> Iterator[tuple[_Size, _Size]]:
    """Sizes at the same place from the end."""
    for place in range(1, max(map(len, shapes), default=0) + 1):
        yield from pairwise(
            [s for shape in shapes if len(shape) >= place and isinstance(s := shape[-place], ir.SymbolicDim)]
        )


def _size(node: ir.Node, position: int, axis: int) -> _Size | None:
    value = optional_input(node, position)
    return value.shape[axis] if value is not None and value.shape is not None and axis < len(value.shape) else None
