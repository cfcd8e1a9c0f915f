"""Which values are known to hold nothing but zeros."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.operators import LAYOUT

_KEEPS_ZEROS = LAYOUT - {"Concat", "Split"} | {"CastLike", "Expand", "Tile"}


def is_zero(value: ir.Value | None) -> bool:
    """Whether `value` is absent or known to be all zeros, the usual ways to write no initial state."""
    if value is None:
        return True
    if value.is_graph_input():
        return False
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None:
        return not np.any(tensor.numpy())
    node = value.producer()
    if node is None:
        return False
    if node.op_type == "ConstantOfShape":
        fill = node.attributes.get("value")
        return fill is None or not np.any(fill.as_tensor().numpy())
    return node.op_type in _KEEPS_ZEROS and is_zero(node.inputs[0])
