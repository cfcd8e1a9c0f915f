"""Transpositions around recurrent nodes: no more than needed, and where OpenVINO reads them right.

1. A transposition that undoes the one before it is taken out, with it what only served the two.
2. A transposition of what a recurrent node reads is never one that OpenVINO could take for its own. OpenVINO 2026.4
   puts a transposition before the node, merges it with equal ones, and may then turn it into a mere relabelling: the
   other readers, as in two layers with a residual, get the wrong elements, without a word. So the node gets its input
   by a Reshape of its own, or, where the input is made otherwise, the other transposition is written over four axes.
3. Of the nodes that read one tensor, the second gets it with a column of zeros behind, the third with two, and so on,
   and zero weights for them. Otherwise the same happens: the first of two layers side by side is wrong.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from rnnexport.onnx_files.operators import RECURRENT

SWAP = (1, 0, 2)
"""[T, B, I] to [B, T, I] and back."""


class Transpositions(ir.passes.InPlacePass):
    """Tidy transpositions; see the rules of this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place."""
        undone = [node for node in model.graph if _undoes_its_input(node)]
        for node in undone:
            _take_out(model.graph, node)
        side_by_side = [readers(value, model.graph) for value in read_by_several(model.graph)]
        for alongside in side_by_side:
            for count, node in enumerate(alongside):
                if count:
                    _append_zero_columns(model.graph, node, count)
        shared = [node for node in model.graph if node.op_type in RECURRENT and _shares_its_input(node)]
        for node in shared:
            _give_input_of_its_own(model.graph, node)
        alike = [node for node in model.graph if permutation(node) == SWAP and _is_read_by_recurrent(node.inputs[0])]
        for node in alike:
            _write_over_four_axes(model.graph, node)
        return ir.passes.PassResult(model, modified=bool(undone or side_by_side or shared or alike))


def permutation(node: ir.Node | None) -> tuple[int, ...]:
    """The axes of a Transpose; empty for any other node."""
    if node is None or node.op_type != "Transpose":
        return ()
    return tuple(node.attributes.get_ints("perm", ()))


def _undoes_its_input(node: ir.Node) -> bool:
    before = node.inputs[0].producer() if node.op_type == "Transpose" and node.inputs[0] else None
    outer, inner = permutation(node), permutation(before)
    return bool(inner) and [inner[axis] for axis in outer] == sorted(outer) and not node.outputs[0].is_graph_output()


def _take_out(graph: ir.Graph, node: ir.Node) -> None:
    assert node.inputs[0] is not None
    before = node.inputs[0].producer()
    assert before is not None
    assert before.inputs[0] is not None
    ir.convenience.replace_all_uses_with(node.outputs[0], before.inputs[0])
    graph.remove(node, safe=True)
    if not before.outputs[0].uses() and not before.outputs[0].is_graph_output():
        graph.remove(before, safe=True)


def readers(value: ir.Value, graph: ir.Graph) -> list[ir.Node]:
    """One-directional recurrent nodes of a graph with this X; OpenVINO treats those of both directions otherwise."""
    return [
        user
        for user, position in value.uses()
        if user.op_type in RECURRENT
        and position == 0
        and user.graph is graph
        and user.attributes.get_string("direction", "forward") != "bidirectional"
    ]


def read_by_several(graph: ir.Graph) -> list[ir.Value]:
    """Values that are X of several one-directional recurrent nodes."""
    inputs = dict.fromkeys(node.inputs[0] for node in graph if node.op_type in RECURRENT)
    return [value for value in inputs if value is not None and len(readers(value, graph)) > 1]


def _append_zero_columns(graph: ir.Graph, node: ir.Node, count: int) -> None:
    tape, name = Tape(), node.name or node.outputs[0].name
    for position, letter in ((0, "X"), (1, "W")):
        value = node.inputs[position]
        assert value is not None
        node.replace_input_with(position, _with_zero_columns(tape, value, count, f"{name}.{letter}_and_zeros"))
    _insert(graph, node, tape)


def _with_zero_columns(tape: Tape, value: ir.Value, count: int, name: str) -> ir.Value:
    """[…, I] → […, I + count]."""
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None:
        return tape.initializer(ir.tensor(np.pad(tensor.numpy(), [(0, 0), (0, 0), (0, count)]), name=name))
    pads = tape.initializer(ir.tensor(np.array([0, 0, 0, 0, 0, count]), name=f"{name}.pads"))
    padded = tape.op("Pad", [value, pads], name=name, output=ir.Value(name=name, type=value.type))
    if value.shape is not None and isinstance(value.shape[2], int):
        padded.shape = ir.Shape([*value.shape[:2], value.shape[2] + count])
    return padded


def _shares_its_input(node: ir.Node) -> bool:
    """Whether X is made by a Squeeze or Reshape, and something else than a recurrent node reads it, too."""
    x = node.inputs[0]
    made_by = x.producer() if x is not None else None
    if x is None or made_by is None or made_by.op_type not in ("Squeeze", "Reshape"):
        return False
    return x.is_graph_output() or any(user.op_type not in (*RECURRENT, "Shape") for user, _ in x.uses())


def _give_input_of_its_own(graph: ir.Graph, node: ir.Node) -> None:
    x = node.inputs[0]
    assert x is not None
    made_by = x.producer()
    assert made_by is not None
    tape = Tape()
    own = _reshape(tape, made_by.inputs[0], [0, -1, _input_size(node)], f"{node.name}.x", like=x)
    _insert(graph, node, tape)
    node.replace_input_with(0, own)


def _is_read_by_recurrent(value: ir.Value | None) -> bool:
    return value is not None and any(user.op_type in RECURRENT and position == 0 for user, position in value.uses())


def _write_over_four_axes(graph: ir.Graph, transpose: ir.Node) -> None:
    """[T, B, I] → [T, B, I, 1] → [B, T, I, 1] → [B, T, I]."""
    x, result = transpose.inputs[0], transpose.outputs[0]
    assert x is not None
    size = next(_input_size(user) for user, position in x.uses() if user.op_type in RECURRENT and position == 0)
    tape, name = Tape(), str(result.name)
    longer = _reshape(tape, x, [0, -1, size, 1], f"{name}.four_axes")
    swapped = tape.op(
        "Transpose", [longer], {"perm": [*SWAP, 3]}, name=f"{name}.swapped", output=ir.Value(name=f"{name}.swapped")
    )
    new = _reshape(tape, swapped, [0, -1, size], name, like=result)
    _insert(graph, transpose, tape)
    ir.convenience.replace_all_uses_with(result, new, replace_graph_outputs=True)
    graph.remove(transpose, safe=True)


def _input_size(node: ir.Node) -> int:
    weights = node.inputs[1]
    assert weights is not None
    assert weights.shape is not None
    size = weights.shape[2]
    assert isinstance(size, int)
    return size


def _reshape(tape: Tape, x: ir.Value | None, shape: list[int], name: str, like: ir.Value | None = None) -> ir.Value:
    sizes = tape.initializer(ir.tensor(np.array(shape), name=f"{name}.shape"))
    output = ir.Value(name=name, type=like.type, shape=like.shape) if like is not None else ir.Value(name=name)
    return tape.op("Reshape", [x, sizes], name=name, output=output)


def _insert(graph: ir.Graph, before: ir.Node, tape: Tape) -> None:
    for initializer in tape.initializers:
        graph.register_initializer(initializer)
    graph.insert_before(before, tape.nodes)
