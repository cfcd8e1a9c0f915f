"""Recurrent nodes without lengths: every row is as long as the batch.

1. The `sequence_lens` input of every LSTM, GRU and RNN node is left out.
2. What only served it goes: nodes that no output needs, and graph inputs that nothing uses.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from rnnexport.onnx_files.operators import RECURRENT, SEQUENCE_LENS


class DropLengths(ir.passes.InPlacePass):
    """Take the lengths out of a graph; see the rules of this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place."""
        dropped = 0
        for node in model.graph.all_nodes():
            if node.op_type in RECURRENT and len(node.inputs) > SEQUENCE_LENS and node.inputs[SEQUENCE_LENS]:
                node.replace_input_with(SEQUENCE_LENS, None)
                dropped += 1
        if dropped:
            RemoveUnusedNodesPass()(model)
            for value in [*model.graph.inputs]:
                if not value.uses():
                    model.graph.inputs.remove(value)
        return ir.passes.PassResult(model, modified=dropped > 0)
