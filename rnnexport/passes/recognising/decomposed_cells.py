"""Finds LSTM and GRU cells that are written out, by what they compute.

A cell is found from its end (`polynomials`), and its weights from what goes into its activations (`affine`):

1. LSTM: h' = o ⊙ tanh(c'), c' = f ⊙ c + i ⊙ g.
2. GRU: h' = (1 − z) ⊙ n + z ⊙ h, or with z and 1 − z swapped, which is z with the other sign before the Sigmoid.
   Within n, either r ⊙ (R·h + b), the form of PyTorch, or R·(r ⊙ h), that of Cho et al. 2014.
3. Every gate is an affine map of the same inputs, each multiplied with constants; a normalisation between, a coupled
   gate or another activation is another cell, and is left alone.
4. Of an LSTM's inputs, h is the one that was written with its c; where that does not show, it is decided by whoever
   knows the steps around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.nodes import optional_input
from rnnexport.passes.recognising.affine import Affine, AffineMaps
from rnnexport.passes.recognising.polynomials import Atom, Polynomial, Products
from rnnexport.passes.recognising.selections import SelectedValue, without_identity

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class CellStep:
    """One step of a cell, as matrices in ONNX's order of gates: i, o, f, c or z, r, h."""

    cell: Literal["LSTM", "GRU"]
    node: ir.Node
    """The last one."""
    inputs: dict[SelectedValue, Array]
    """The matrix [n, G·H] of every input, h among them unless it is known to be zero."""
    bias: Array
    """[G·H]."""
    recurrent_bias: Array
    """[G·H]; zeros but for the reset gate's inside."""
    reset_before: bool
    h: SelectedValue | None
    """A GRU's state; of an LSTM, `None`."""
    c: ir.Value | None
    h_n: ir.Value
    c_n: ir.Value | None

    @property
    def hidden_size(self) -> int:
        """H."""
        return len(self.bias) // (4 if self.cell == "LSTM" else 3)


class StepFinder:
    """Finds the cells in the graphs of one model, whose shapes must have been inferred."""

    def __init__(self, model: ir.Model, maps: AffineMaps) -> None:
        self.maps = maps
        self._products = Products(maps.selections, set(_states(model, maps)))

    def steps(self, graph: ir.Graph) -> Iterator[CellStep]:
        """Yield the cells of one graph, in the order in which they stand there."""
        for node in graph:
            if node.op_type not in ("Add", "Sub", "Mul") or node.outputs[0].dtype not in (None, ir.DataType.FLOAT):
                continue
            found = self._lstm(node) if node.op_type == "Mul" else self._gru(node)
            if found is not None:
                yield found

    def _lstm(self, node: ir.Node) -> CellStep | None:
        """The cell whose h_n = out ⊙ tanh(c_n) the node computes, with c_n = forget ⊙ c + enter ⊙ candidate."""
        shown = _product(self._products.of(node.outputs[0]))
        for out, squashed in permutations(shown) if len(shown) == 2 else ():
            if out.activation != "Sigmoid" or squashed.activation != "Tanh" or squashed.columns is not None:
                continue
            state = self._products.of(squashed.value)
            if len(state) != 2 or any(factor != 1 or len(product) != 2 for product, factor in state.items()):
                continue
            for kept, new in permutations(map(tuple, state)):
                for (forget, c), (enter, candidate) in _orders(kept, new):
                    if _kinds(forget, enter, candidate) == ("Sigmoid", "Sigmoid", "Tanh"):
                        found = self._lstm_of([enter, out, forget, candidate], c, squashed.value, node)
                        if found is not None:
                            return found
        return None

    def _lstm_of(self, gates: list[Atom], c: Atom, c_n: ir.Value, node: ir.Node) -> CellStep | None:
        """The cell of gates i, o, f, g, if what goes into each is an affine map of the inputs and h."""
        maps = [self._gate(atom) for atom in gates]
        known = [each for each in maps if each is not None]
        if len(known) < 4 or c.activation or len({len(each.bias) for each in known}) != 1:
            return None
        if not known[3].terms.keys() <= {source for each in known[:3] for source in each.terms}:
            return None
        bias = np.concatenate([each.bias for each in known])
        return CellStep(
            "LSTM", node, self._stacked(known), bias, np.zeros_like(bias), False, None, c.value, node.outputs[0], c_n
        )

    def _gru(self, node: ir.Node) -> CellStep | None:
        """The cell whose h_n = start − z ⊙ start + z ⊙ end the node computes; h is the start or the end."""
        polynomial = self._products.of(node.outputs[0])
        singles = [product for product in polynomial if len(product) == 1]
        if len(polynomial) != 3 or len(singles) != 1 or sorted(polynomial.values()) != [-1, 1, 1]:
            return None
        ((start,),) = singles
        (one, other) = (product for product in polynomial if len(product) == 2)
        lost, gained = (one, other) if polynomial[one] < 0 else (other, one)
        if polynomial[lost] != -1 or polynomial[frozenset([start])] != 1 or start not in lost:
            return None
        (z,) = lost - {start}
        if z not in gained:
            return None
        (end,) = gained - {z}
        if end.activation:  # start + z ⊙ (end − start), so z weighs the new state
            return self._gru_of(z, end, start, node, swapped=True) or self._gru_of(z, start, end, node, swapped=False)
        return self._gru_of(z, start, end, node, swapped=False)

    def _gru_of(self, z: Atom, n: Atom, h: Atom, node: ir.Node, *, swapped: bool) -> CellStep | None:
        """The cell h_n = n − z ⊙ n + z ⊙ h, ONNX's order; where z weighs n instead, `swapped`, it is 1 − z = σ(−a)."""
        if _kinds(z, n) != ("Sigmoid", "Tanh") or h.activation:
            return None
        update, new = self._gate(z), self._gate(n, direct_too=True)
        if update is None or new is None or len(update.bias) != len(new.bias):
            return None
        if swapped:
            update = Affine({s: self.maps.arrays.scaled(m, -1) for s, m in update.terms.items()}, -update.bias)
        state = self.maps.selections.source(h.value)
        inner = [source for source in new.terms if source not in update.terms or source in new.direct]
        if len(inner) != 1 or state in new.terms:
            return None
        found = self._reset(inner[0], state, new)
        if found is None:
            return None
        reset, recurrent = found
        rest = {source: matrix for source, matrix in new.terms.items() if source != inner[0]}
        maps = [update, reset, Affine(rest | recurrent.terms, new.bias)]
        if len({len(each.bias) for each in maps}) != 1:
            return None
        size = len(new.bias)
        recurrent_bias = np.concatenate([np.zeros(2 * size), recurrent.bias])
        bias = np.concatenate([each.bias for each in maps])
        before = inner[0] not in new.direct
        return CellStep(
            "GRU", node, self._stacked(maps), bias, recurrent_bias, before, state, None, node.outputs[0], None
        )

    def _reset(self, inner: SelectedValue, state: SelectedValue, new: Affine) -> tuple[Affine, Affine] | None:
        """The reset gate's map, and that of what comes from h into the new state."""
        product = self._products.of(inner.value)
        matrix = new.terms[inner]
        if inner.axis is not None:
            return None
        if inner not in new.direct:
            atoms = _product(product)
            for r, h in permutations(atoms) if len(atoms) == 2 else ():
                if r.activation == "Sigmoid" and not h.activation and self.maps.selections.source(h.value) == state:
                    reset = self._gate(r)
                    return None if reset is None else (reset, Affine({state: matrix}, np.zeros(matrix.shape[1])))
            return None
        node = inner.value.producer()
        if node is None or node.op_type != "Mul" or not np.array_equal(matrix, np.eye(len(matrix))):
            return None
        for gate, scaled in permutations(node.inputs):
            if gate is None or scaled is None:
                continue
            atoms, recurrent = _product(self._products.of(gate)), self.maps.of(scaled)
            if len(atoms) == 1 and atoms[0].activation == "Sigmoid" and recurrent is not None:
                reset = self._gate(atoms[0])
                if reset is not None and not recurrent.direct and recurrent.terms.keys() <= {state}:
                    return reset, recurrent
        return None

    def _gate(self, atom: Atom, *, direct_too: bool = False) -> Affine | None:
        """The map of what goes into an activation; rule 3."""
        found = self.maps.of(atom.value)
        if found is None or (found.direct and not direct_too):
            return None
        return self.maps.take(found, atom.columns)

    def _stacked(self, gates: list[Affine]) -> dict[SelectedValue, Array]:
        rows = {source: len(gate.terms[source]) for gate in gates for source in gate.terms}
        blank = {source: self.maps.arrays.zeros(n, len(gates[0].bias)) for source, n in rows.items()}
        return {
            source: self.maps.arrays.beside([gate.terms.get(source, blank[source]) for gate in gates])
            for source in rows
        }


def _states(model: ir.Model, maps: AffineMaps) -> Iterator[ir.Value]:
    """Yield what can be a state: the h that is multiplied with constants, and the c whose tanh is taken."""
    for node in model.graph.all_nodes():
        value = optional_input(node, 0)
        if value is not None and node.op_type == "Tanh":
            yield without_identity(value)
        elif value is not None and node.op_type in ("MatMul", "Gemm") and maps.constants.of(node.inputs[1]) is not None:
            yield from map(without_identity, maps.parts(value))


def _product(polynomial: Polynomial) -> tuple[Atom, ...]:
    """The atoms of a polynomial that is one product of them."""
    return tuple(next(iter(polynomial))) if list(polynomial.values()) == [1] else ()


def _kinds(*atoms: Atom) -> tuple[str, ...]:
    return tuple(atom.activation for atom in atoms)


def _orders(first: tuple[Atom, ...], second: tuple[Atom, ...]) -> Iterator[tuple[tuple[Atom, ...], tuple[Atom, ...]]]:
    for a in permutations(first):
        for b in permutations(second):
            yield a, b
