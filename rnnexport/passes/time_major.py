"""Recurrent nodes with `layout=1` as `layout=0`, which every runtime knows.

X [B, T, I], initial states [B, D, H], Y [B, T, D, H] and Y_h, Y_c [B, D, H] are transposed around the node. The weights
have no batch.
"""

from __future__ import annotations

import onnx_ir as ir

from rnnexport.onnx_files.operators import RECURRENT

_SWAP = [1, 0, 2]
_Y_FROM_TIME_MAJOR = [2, 0, 1, 3]
_BATCHED_INPUTS = (0, 5, 6)


class TimeMajor(ir.passes.InPlacePass):
    """Make every recurrent node time-major; see this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place."""
        found = [
            node
            for node in model.graph.all_nodes()
            if node.op_type in RECURRENT and node.attributes.get_int("layout", 0) == 1
        ]
        for node in found:
            _rewrite(node)
        return ir.passes.PassResult(model, modified=bool(found))


def _rewrite(node: ir.Node) -> None:
    graph = node.graph
    assert graph is not None
    for position in _BATCHED_INPUTS:
        value = node.inputs[position] if position < len(node.inputs) else None
        if value is not None:
            before = _transpose(value, _SWAP, f"{value.name}.time_major")
            graph.insert_before(node, before)
            node.replace_input_with(position, before.outputs[0])
    for position, output in enumerate(node.outputs):
        if not output.name:
            continue
        permutation = _Y_FROM_TIME_MAJOR if position == 0 else _SWAP
        inner = ir.Value(name=f"{output.name}.time_major", type=output.type)
        after = _transpose(inner, permutation, output.name)
        after.outputs[0].shape, after.outputs[0].type = output.shape, output.type
        ir.convenience.replace_all_uses_with(output, after.outputs[0], replace_graph_outputs=True)
        output.name, output.shape = inner.name, None
        after.replace_input_with(0, output)
        graph.insert_after(node, after)
    del node.attributes["layout"]


def _transpose(value: ir.Value, permutation: list[int], name: str) -> ir.Node:
    return ir.node(
        "Transpose", [value], {"perm": permutation}, outputs=[ir.Value(name=name, type=value.type)], name=name
    )
