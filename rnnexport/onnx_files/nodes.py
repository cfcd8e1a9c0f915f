"""What passes ask of a node, and how they refuse one."""

from __future__ import annotations

import onnx_ir as ir

from rnnexport.errors import ExportError


class RefusedNodeError(ExportError, ir.passes.PreconditionError):
    """A node that a pass cannot rewrite so that the model stays the same function. Nothing has been changed yet."""

    def __init__(self, node: ir.Node, reason: str) -> None:
        """Name the node, its operator and the reason."""
        super().__init__(f"node {node_name(node)!r} ({node.op_type}): {reason}")


def node_name(node: ir.Node) -> str:
    """The node's name, or its first output's where it has none."""
    return node.name or next((value.name for value in node.outputs if value.name), "")


def optional_input(node: ir.Node, index: int) -> ir.Value | None:
    """The input at `index`, `None` where the node has none."""
    return node.inputs[index] if index < len(node.inputs) else None


def required_input(node: ir.Node, index: int) -> ir.Value:
    """The input at `index`.

    Raises:
        RefusedNodeError: There is none, so the model is not valid.
    """
    value = optional_input(node, index)
    if value is None:
        raise RefusedNodeError(node, f"input {index} is missing; the model is not valid")
    return value


def used_output(node: ir.Node, index: int) -> ir.Value | None:
    """The output at `index` if a node or the graph uses it."""
    value = node.outputs[index] if index < len(node.outputs) else None
    return value if value is not None and (value.is_graph_output() or value.uses()) else None


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor that a value always is, `None` where it is computed or left out."""
    return None if value is None else ir.convenience.get_const_tensor(value)


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The sub-graphs of an `If`, `Loop` or `Scan`."""
    return [each.as_graph() for each in node.attributes.values() if each.type == ir.AttributeType.GRAPH]
