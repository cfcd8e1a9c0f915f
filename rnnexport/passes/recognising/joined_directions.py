"""What exporters put between two layers, so that Y [T, D, B, H] of the lower becomes X [T, B, D·H] of the upper.

A layer of one direction is followed by a Squeeze of D, one of two by a Transpose and a Reshape.
"""

from __future__ import annotations

import onnx_ir as ir

from rnnexport.onnx_files.nodes import constant_tensor, optional_input, squeezed_axes


def joins_directions(node: ir.Node | None) -> bool:
    """Whether a node is one of these; a Reshape is, where it stands behind such a Transpose."""
    if node is None:
        return False
    if node.op_type == "Squeeze":
        return squeezed_axes(node) in ([1], [-3])
    if node.op_type == "Reshape":
        source, shape = optional_input(node, 0), constant_tensor(optional_input(node, 1))
        behind = source is not None and _swaps_directions_and_batch(source.producer())
        return behind and shape is not None and shape.size == 3 and shape.numpy().tolist()[:2] == [0, 0]
    return _swaps_directions_and_batch(node)


def _swaps_directions_and_batch(node: ir.Node | None) -> bool:
    if node is None or node.op_type != "Transpose":
        return False
    return list(node.attributes.get_ints("perm") or ()) == [0, 2, 1, 3]
