"""LSTM and GRU cells that are written as single operators.

1. A cell is an LSTM or GRU where `passes.fuse_cells` can make an operator of it. What only looks like one is found by
   its last step: an LSTM's o ⊙ tanh(c), a GRU's (1 − z) ⊙ n or z ⊙ (h − n), where o and z come from a Sigmoid and n
   from a Tanh. Cells that share a weight are one cell, unrolled over time.
2. The multiply-adds of such a cell are those of the nearest matrix products with constant weights that its last step is
   computed from, whatever the weights are stored as. What a Scan reads step by step may be a product over all steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import bodies, constant_tensor, node_name, optional_input
from rnnexport.onnx_files.operators import LAYOUT, Cell
from rnnexport.passes.fuse_cells import fuse_cells
from rnnexport.passes.recognising.cell_runs import CellRun

_WEIGHTS = {
    "DynamicQuantizeMatMul": 1,
    "Gemm": 1,
    "MatMul": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "MatMulNBits": 1,
    "QLinearMatMul": 3,
}
"""Matrix products, and which of their inputs is the matrix of weights."""
_DEPTH = 12


@dataclass(frozen=True, slots=True)
class DecomposedCell:
    """A cell written as MatMul, Sigmoid and Tanh."""

    cell: Cell
    node: str
    """Where its last step is."""
    steps: int
    """How often it stands in the graph with the same recurrent weight; 1 for a single step, also of a Scan or Loop."""
    fusible: bool
    """Whether `rnnexport lint --fix` can put an operator in its place."""
    weights: str
    """What they are stored as, in ONNX's words, such as `float`, `int8` or `int4`."""
    multiply_adds_per_step: int
    """Of one row, without activations; 0 where no product with constant weights was found."""


@dataclass(frozen=True, slots=True)
class _Weight:
    """A constant matrix that something is multiplied by."""

    name: str
    stored_as: str
    size: int
    """Multiply-adds of one row."""


def decomposed_cells(model: ir.Model) -> list[DecomposedCell]:
    """Find the cells, each once."""
    return [cell for _, cell in cells_by_graph(model)]


def cells_by_graph(model: ir.Model) -> Iterator[tuple[int, DecomposedCell]]:
    """Yield each cell with the number of the graph in `model.graphs()` that it stands in."""
    model = model.clone()
    home = {node: number for number, graph in enumerate(model.graphs()) for node in graph}
    scans = {body: node for node in home if node.op_type == "Scan" for body in bodies(node)}
    fused: dict[int, list[CellRun]] = {}
    for run in fuse_cells(model):
        fused.setdefault(id(run.weights), []).append(run)
    for runs in fused.values():
        weights, steps = runs[0].weights, [step for run in runs for step in run.steps]
        size = weights.w.size + (0 if weights.r is None else weights.r.size)
        cell, node = steps[0].cell, steps[0].node
        yield home[node], DecomposedCell(cell, node_name(node), len(steps), True, "float", size)
    found: dict[tuple[Cell, frozenset[_Weight]], list[ir.Node]] = {}
    for node in model.graph.all_nodes():
        ending = _cell_ending_in(node)
        if ending and node in home:
            found.setdefault((ending, frozenset(_weights_behind(node, scans))), []).append(node)
    for (ending, weights_of_cell), nodes in found.items():
        stored = " and ".join(sorted({weight.stored_as for weight in weights_of_cell})) or "?"
        size = sum(weight.size for weight in weights_of_cell)
        yield home[nodes[0]], DecomposedCell(ending, node_name(nodes[0]), len(nodes), False, stored, size)


def _cell_ending_in(node: ir.Node) -> Cell | None:
    if node.op_type != "Mul":
        return None
    makers = [_maker(value) for value in node.inputs]
    kinds = {maker.op_type for maker in makers if maker is not None}
    if kinds == {"Sigmoid", "Tanh"}:
        tanh = next(maker for maker in makers if maker is not None and maker.op_type == "Tanh")
        state = _maker(tanh.inputs[0])
        terms = [_maker(value) for value in state.inputs] if state is not None and state.op_type == "Add" else []
        return "LSTM" if [term.op_type for term in terms if term is not None] == ["Mul", "Mul"] else None
    differences = [maker for maker in makers if maker is not None and maker.op_type == "Sub"]
    if len(differences) == 1 and kinds in ({"Sub", "Tanh"}, {"Sub", "Sigmoid"}):
        behind = {maker.op_type for value in differences[0].inputs if (maker := _maker(value)) is not None}
        return "GRU" if behind & {"Sigmoid", "Tanh"} and behind | kinds >= {"Sigmoid", "Tanh"} else None
    return None


def _maker(value: ir.Value | None) -> ir.Node | None:
    """What computes a value, seen through changes of layout."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in LAYOUT and node.inputs and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def _weights_behind(last: ir.Node, scans: dict[ir.Graph, ir.Node]) -> set[_Weight]:
    """The weights of the nearest products that a cell's last step comes from."""
    found: set[_Weight] = set()
    seen, level = {last}, [last]
    for _ in range(_DEPTH):
        makers = {maker for node in level for value in node.inputs if (maker := _behind(value, scans)) is not None}
        level = [maker for maker in makers if maker not in seen]
        seen |= makers
        for node in list(level):
            if (weight := _weight(node)) is not None:
                found.add(weight)
                level.remove(node)
    return found


def _behind(value: ir.Value | None, scans: dict[ir.Graph, ir.Node]) -> ir.Node | None:
    """What computes a value; for what a Scan reads step by step, outside of it."""
    if value is None or value.producer() is not None:
        return value.producer() if value is not None else None
    scan = scans.get(value.graph) if value.graph is not None else None
    index = value.graph.inputs.index(value) if scan is not None and value.is_graph_input() and value.graph else -1
    if scan is None or index < len(scan.inputs) - scan.attributes.get_int("num_scan_inputs", 0):
        return None
    outside = scan.inputs[index]
    return outside.producer() if outside is not None else None


def _weight(node: ir.Node) -> _Weight | None:
    """The weight of a matrix product."""
    value = optional_input(node, _WEIGHTS[node.op_type]) if node.op_type in _WEIGHTS else None
    while value is not None and (maker := value.producer()) is not None:
        if maker.op_type not in ("DequantizeLinear", "Transpose", "Cast"):
            break
        value = maker.inputs[0]
    tensor = constant_tensor(value)
    if value is None or tensor is None:
        return None
    if node.op_type == "MatMulNBits":
        bits = node.attributes.get_int("bits", 4)
        return _Weight(str(value.name), f"int{bits}", node.attributes.get_int("K", 0) * node.attributes.get_int("N", 0))
    if len(tensor.shape) != 2 or not np.any(tensor.numpy()):  # zeros are a first state
        return None
    return _Weight(str(value.name), tensor.dtype.name.lower(), tensor.size)
