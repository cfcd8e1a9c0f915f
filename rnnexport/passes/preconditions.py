"""How a pass says that a model is not for it, before it has changed anything."""

from __future__ import annotations

import onnx_ir as ir

from rnnexport.errors import ExportError


class RefusedNodeError(ExportError, ir.passes.PreconditionError):
    """A node that a pass cannot rewrite so that the model stays the same function."""

    def __init__(self, node: ir.Node, reason: str) -> None:
        """Name the node, its operator and the reason, which ends with what to do."""
        super().__init__(f"node {node_name(node)!r} ({node.op_type}): {reason}")


def node_name(node: ir.Node) -> str:
    """The node's name, or its first output's where it has none."""
    return node.name or next((value.name for value in node.outputs if value.name), "")
