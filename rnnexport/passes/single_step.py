"""LSTM and GRU nodes in a graph of a single time step: what they give for the step is their last state, so one will do.

1. A Squeeze that takes the direction off Y [1, 1, B, H] gives Y_h [1, B, H], and Y is not asked for any more.
2. A node of both directions, with lengths, or of another number of steps stays as it is. So does a Squeeze whose output
   the graph returns beside the state, since one value cannot be two outputs.
"""

from __future__ import annotations

import onnx_ir as ir

from rnnexport.onnx_files.nodes import node_name, optional_input
from rnnexport.onnx_files.operators import Y_H, Y
from rnnexport.passes.recognising.recurrent import is_recurrent, time_steps
from rnnexport.passes.writing.layer_outputs import squeezes

_LENGTHS = 4


def why_not_single_step(node: ir.Node) -> str | None:
    """Return why nothing is to be gained from a node, or `None` if something is."""
    if time_steps(node) != 1:
        return "it runs over more than one time step; fix it to 1"
    if node.attributes.get_string("direction", "forward") == "bidirectional":
        return "it runs in both directions"
    if optional_input(node, _LENGTHS) is not None:
        return "it has lengths"
    return None if _replaceable(node) else "nothing takes the direction off what it gives"


class SingleStep(ir.passes.InPlacePass):
    """Read states instead of steps; see the rules of this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place, sub-graphs included."""
        nodes = [node for node in model.graph.all_nodes() if is_recurrent(node) and why_not_single_step(node) is None]
        for node in nodes:
            _rewrite(node)
        return ir.passes.PassResult(model, modified=bool(nodes))


def _replaceable(node: ir.Node) -> list[ir.Node]:
    returns_state = len(node.outputs) > Y_H and node.outputs[Y_H].is_graph_output()
    found = squeezes(node.outputs[Y])
    return [squeeze for squeeze in found if not (returns_state and squeeze.outputs[0].is_graph_output())]


def _rewrite(node: ir.Node) -> None:
    graph = node.graph
    assert graph is not None
    node.resize_outputs(max(len(node.outputs), Y_H + 1))
    y, state = node.outputs[Y], node.outputs[Y_H]
    if not state.name:
        state.name, state.type = f"{node_name(node)}.Y_h", y.type
    for squeeze in _replaceable(node):
        output = squeeze.outputs[0]
        if output.is_graph_output():
            state.name, state.shape = output.name, output.shape
        ir.convenience.replace_all_uses_with(output, state, replace_graph_outputs=True)
        graph.remove(squeeze, safe=True)
    if not y.uses() and not y.is_graph_output():
        y.name = ""
