"""What is in an ONNX file with recurrent layers, read off the graph; nothing is run.

1. Recurrent nodes in the bodies of `If`, `Loop` and `Scan` count like those outside.
2. A graph input and output are states of each other where the one reaches a node's initial state and the other comes
   from its final state, through changes of layout; or, where a body hides that, where type and rank are the same and
   the output's name begins with the input's (`h` → `hn`, `state` → `stateN`).
3. A cell written out is an LSTM or GRU where `passes.fuse_cells` can make an operator of it. What only looks like one
   is found by its last step: an LSTM's o ⊙ tanh(c), a GRU's (1 − z) ⊙ n or z ⊙ (h − n), where o and z come from a
   Sigmoid and n from a Tanh. Cells that share a weight are one cell, unrolled over time.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from rnnexport.onnx_files.nodes import node_name, optional_input
from rnnexport.onnx_files.operators import INITIAL_H, LAYOUT, RECURRENT, SEQUENCE_LENS
from rnnexport.onnx_files.zeros import is_zero
from rnnexport.passes.fuse_cells import fuse_cells
from rnnexport.passes.recognising.decomposed_cells import CellStep


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One LSTM, GRU or RNN node."""

    name: str
    cell: str
    """`LSTM`, `GRU` (reset after the product, as PyTorch has it), `GRU, reset before` or `RNN`."""
    direction: str
    input_size: int | None
    hidden_size: int | None
    lengths: str | None
    """Where `sequence_lens` comes from; `None` where every row is as long as the batch."""
    initial_state: str
    """`zeros`, `constant`, `input NAME` or `computed`."""
    multiply_adds_per_step: int
    """Of one row, without activations; 0 where the weights' shapes are not known."""


@dataclass(frozen=True, slots=True)
class WrittenCell:
    """A cell written as MatMul, Sigmoid and Tanh."""

    cell: Literal["LSTM", "GRU"]
    node: str
    """Where its last step is."""
    steps: int
    """How often it stands in the graph with the same recurrent weight; 1 for a single step."""
    fusible: bool
    """Whether `rnnexport lint --fix` can put an operator in its place."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `rnnexport show model.onnx` prints."""

    producer: str
    operator_sets: dict[str, int]
    inputs: dict[str, str]
    outputs: dict[str, str]
    layers: tuple[LayerSummary, ...]
    written_cells: tuple[WrittenCell, ...]
    state_pairs: tuple[tuple[str, str], ...]
    parameters: int
    operators: dict[str, int]

    @property
    def multiply_adds_per_step(self) -> int:
        """Of all recurrent layers, for one row."""
        return sum(layer.multiply_adds_per_step for layer in self.layers)


def inspect_model(model: ir.Model) -> Inspection:
    """Describe a model; it is not changed."""
    model = model.clone()
    with contextlib.suppress(Exception):  # a model that contradicts itself is described as far as it goes
        ShapeInferencePass()(model)
    nodes = [*model.graph.all_nodes()]
    return Inspection(
        producer=" ".join(filter(None, [model.producer_name, model.producer_version])) or "unknown",
        operator_sets={domain or "ai.onnx": version for domain, version in model.opset_imports.items()},
        inputs={value.name or "": _type(value) for value in data_inputs(model)},
        outputs={value.name or "": _type(value) for value in model.graph.outputs},
        layers=tuple(_layer(node) for node in nodes if node.op_type in RECURRENT),
        written_cells=tuple(written_cells(model)),
        state_pairs=tuple(_state_pairs(model)),
        parameters=_parameters(model),
        operators=dict(Counter(node.op_type for node in nodes).most_common()),
    )


def data_inputs(model: ir.Model) -> list[ir.Value]:
    """Graph inputs without those that only give an initializer a name, as old files have them."""
    return [value for value in model.graph.inputs if value.const_value is None]


def recurrent_nodes(model: ir.Model) -> list[ir.Node]:
    """All recurrent nodes, those of sub-graphs too."""
    return [node for node in model.graph.all_nodes() if node.op_type in RECURRENT]


def _layer(node: ir.Node) -> LayerSummary:
    weights, recurrence = _shape(node, 1), _shape(node, 2)
    hidden_size = node.attributes.get_int("hidden_size", 0) or (recurrence[2] if recurrence else None)
    cell = node.op_type
    if cell == "GRU" and not node.attributes.get_int("linear_before_reset", 0):
        cell = "GRU, reset before"
    lengths = optional_input(node, SEQUENCE_LENS)
    products = sum(int(np.prod(shape)) for shape in (weights, recurrence) if shape)
    return LayerSummary(
        name=node_name(node),
        cell=cell,
        direction=node.attributes.get_string("direction", "forward") or "forward",
        input_size=weights[2] if weights else None,
        hidden_size=hidden_size,
        lengths=None if lengths is None else _origin(lengths),
        initial_state=_initial_state(optional_input(node, INITIAL_H)),
        multiply_adds_per_step=products,
    )


def _shape(node: ir.Node, index: int) -> tuple[int, ...]:
    value = optional_input(node, index)
    if value is None or value.shape is None or not all(isinstance(size, int) for size in value.shape):
        return ()
    return tuple(int(size) for size in value.shape if isinstance(size, int))


def _initial_state(value: ir.Value | None) -> str:
    return "zeros" if is_zero(value) else _origin(value) if value is not None else "zeros"


def _origin(value: ir.Value) -> str:
    """`input NAME` through changes of layout, `constant`, or `computed`."""
    seen: ir.Value | None = value
    while seen is not None and seen.producer() is not None:
        if ir.convenience.get_const_tensor(seen) is not None:
            return "constant"
        node = seen.producer()
        seen = node.inputs[0] if node is not None and node.op_type in LAYOUT and node.inputs else None
    if seen is None:
        return "computed"
    return "constant" if seen.const_value is not None else f"input {seen.name}"


def _state_pairs(model: ir.Model) -> Iterator[tuple[str, str]]:
    for before in data_inputs(model):
        for after in model.graph.outputs:
            if _is_state(before, after) or _is_named_like(before, after):
                yield before.name or "", after.name or ""
                break


def _is_state(before: ir.Value, after: ir.Value) -> bool:
    """Whether `before` reaches initial_h (input 5) and `after` comes from Y_h (output 1), or the same of c."""
    reached = {
        user.outputs[position - INITIAL_H + 1]
        for value in _reached(before)
        for user, position in value.uses()
        if user.op_type in RECURRENT and INITIAL_H <= position < len(user.outputs) + INITIAL_H - 1
    }
    return any(after in _reached(output) for output in reached)


def _reached(value: ir.Value) -> list[ir.Value]:
    """`value` and what it becomes through changes of layout."""
    found = [value]
    for each in found:
        for user, _ in each.uses():
            if user.op_type in LAYOUT:
                found.extend(output for output in user.outputs if output not in found)
    return found


def _is_named_like(before: ir.Value, after: ir.Value) -> bool:
    if before.dtype != after.dtype or before.dtype is None or not before.dtype.is_floating_point():
        return False
    if before.shape is None or after.shape is None:
        return False
    same_rank = len(before.shape) == len(after.shape) >= 2
    return same_rank and (after.name or "").lower().startswith((before.name or "").lower())


def written_cells(model: ir.Model) -> Iterator[WrittenCell]:
    """Yield the cells that are written out, each once."""
    fused: dict[int, list[CellStep]] = {}
    model = model.clone()
    for run in fuse_cells(model):
        fused.setdefault(id(run.weights), []).extend(run.steps)
    for steps in fused.values():
        yield WrittenCell(steps[0].cell, node_name(steps[0].node), len(steps), fusible=True)
    found: dict[tuple[str, str], list[ir.Node]] = {}
    for node in model.graph.all_nodes():
        cell = _cell_ending_in(node)
        if cell:
            weights = sorted(_matrices_behind(node))
            found.setdefault((cell, str(weights)), []).append(node)
    for (cell, _), nodes in found.items():
        yield WrittenCell("LSTM" if cell == "LSTM" else "GRU", node_name(nodes[0]), len(nodes), fusible=False)


def _cell_ending_in(node: ir.Node) -> str | None:
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


def _matrices_behind(node: ir.Node, depth: int = 12) -> set[str]:
    """Names of the constant matrices that a cell's last step comes from, up to the cell's own first operators."""
    found, level = set[str](), [node]
    for _ in range(depth):
        values = [value for each in level for value in each.inputs if value is not None]
        products = [each for each in level if each.op_type in ("MatMul", "Gemm")]
        found |= {str(v.name) for each in products for v in each.inputs if v is not None and _is_matrix(v)}
        level = [maker for value in values if (maker := value.producer()) is not None]
        if found:
            break
    return found


def _is_matrix(value: ir.Value) -> bool:
    maker = value.producer()
    if maker is not None and maker.op_type == "Transpose" and maker.inputs[0] is not None:
        value = maker.inputs[0]
    tensor = ir.convenience.get_const_tensor(value)
    return tensor is not None and len(tensor.shape) == 2 and bool(np.any(tensor.numpy()))  # zeros are a first state


def _parameters(model: ir.Model) -> int:
    """Numbers in all floating-point constants."""
    constants = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    constants += [
        node.attributes["value"].as_tensor()
        for node in model.graph.all_nodes()
        if node.op_type == "Constant" and "value" in node.attributes
    ]
    return sum(tensor.size for tensor in constants if tensor is not None and tensor.dtype.is_floating_point())


def _type(value: ir.Value) -> str:
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    if value.shape is None:
        return f"{dtype}, no shape"
    sizes = [str(size if isinstance(size, int) else size.value or "?") for size in value.shape]
    return f"{dtype} [{', '.join(sizes)}]"
