"""Nodes that were exported in training mode, set to evaluation mode.

1. Dropout passes its input on. Its mask, where it is used, is all true: `training_mode` becomes false.
2. BatchNormalization uses the statistics that it keeps, and gives no others.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import constant_tensor, optional_input


class EvaluationMode(ir.passes.InPlacePass):
    """Set evaluation mode everywhere; see the rules of this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place."""
        found = [node for node in model.graph.all_nodes() if trains(node)]
        for node in found:
            if node.op_type == "Dropout":
                node.replace_input_with(2, None)
            else:
                node.attributes["training_mode"] = ir.AttrInt64("training_mode", 0)
                node.resize_outputs(1)
        return ir.passes.PassResult(model, modified=bool(found))


def trains(node: ir.Node) -> bool:
    """Whether a node is in training mode."""
    if node.op_type == "BatchNormalization":
        return node.attributes.get_int("training_mode", 0) == 1
    mode = optional_input(node, 2) if node.op_type == "Dropout" else None
    tensor = constant_tensor(mode)
    return tensor is not None and bool(np.any(tensor.numpy()))
