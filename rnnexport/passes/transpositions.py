"""Transpositions around recurrent nodes: no more than needed, and where OpenVINO reads them right.

1. A transposition that undoes the one before it is taken out, with it what only served the two.
2. OpenVINO 2026.4 with static shapes gives a batch-major reader of a recurrent output the wrong elements, without a
   word, where the output has a time-major reader too: Y → Squeeze → reader and Y → Squeeze → Transpose → reader, as in
   two layers with a residual. Where the transposition comes first, Y → Transpose → Squeeze, both are right.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tape import Tape

_RECURRENT = ("LSTM", "GRU", "RNN")


class Transpositions(ir.passes.InPlacePass):
    """Tidy transpositions; see the rules of this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place."""
        undone = [node for node in model.graph if _undoes_its_input(node)]
        for node in undone:
            _take_out(model.graph, node)
        found = [(node, squeezed) for squeezed in _squeezed_outputs(model.graph) for node in _transposed(squeezed)]
        for transpose, squeezed in found:
            _transpose_first(model.graph, transpose, squeezed)
        return ir.passes.PassResult(model, modified=bool(undone or found))


def _permutation(node: ir.Node | None) -> tuple[int, ...]:
    if node is None or node.op_type != "Transpose":
        return ()
    return tuple(node.attributes.get_ints("perm", ()))


def _undoes_its_input(node: ir.Node) -> bool:
    before = node.inputs[0].producer() if node.op_type == "Transpose" and node.inputs[0] else None
    outer, inner = _permutation(node), _permutation(before)
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


def _squeezed_outputs(graph: ir.Graph) -> list[ir.Value]:
    """Outputs [T, B, H] of one-directional recurrent nodes."""
    return [
        user.outputs[0]
        for node in graph
        if node.op_type in _RECURRENT
        for user, _ in node.outputs[0].uses()
        if user.op_type == "Squeeze"
    ]


def _transposed(squeezed: ir.Value) -> list[ir.Node]:
    """The transpositions of `squeezed`, unless they are all that reads it."""
    users = [user for user, _ in squeezed.uses()]
    transposed = [user for user in users if _permutation(user) == (1, 0, 2)]
    return transposed if len(transposed) < len(users) or squeezed.is_graph_output() else []


def _transpose_first(graph: ir.Graph, transpose: ir.Node, squeezed: ir.Value) -> None:
    squeeze = squeezed.producer()
    assert squeeze is not None
    tape, result = Tape(), transpose.outputs[0]
    name = result.name
    by_batch = tape.op(
        "Transpose",
        [squeeze.inputs[0]],
        {"perm": [2, 1, 0, 3]},
        name=f"{name}.by_batch",
        output=ir.Value(name=f"{name}.by_batch"),
    )
    new = tape.op(
        "Squeeze",
        [by_batch, squeeze.inputs[1]],
        name=name,
        output=ir.Value(name=name, type=result.type, shape=result.shape),
    )
    ir.convenience.replace_nodes_and_values(graph, transpose, [transpose], tape.nodes, [result], [new])
