"""What passes ask of a node, and how they refuse one."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

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


def constant_input(node: ir.Node, index: int) -> NDArray[Any]:
    """The array that an input always is; whoever asks has made sure that there is one."""
    tensor = constant_tensor(required_input(node, index))
    assert tensor is not None, f"input {index} is computed"
    return tensor.numpy()


def uncast(value: ir.Value | None) -> ir.Value | None:
    """The value itself without casts, so that layers that cast their lengths one by one are known to share them."""
    node = value.producer() if value is not None else None
    return uncast(node.inputs[0]) if node is not None and node.op_type == "Cast" and node.inputs[0] else value


def squeezed_axes(squeeze: ir.Node) -> list[int]:
    """The axes that a Squeeze takes away, an input or an attribute of it; none where they are not known."""
    tensor = constant_tensor(optional_input(squeeze, 1))
    return [*squeeze.attributes.get_ints("axes", [])] if tensor is None else [*map(int, tensor.numpy())]


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The sub-graphs of an `If`, `Loop` or `Scan`."""
    return [each.as_graph() for each in node.attributes.values() if each.type == ir.AttributeType.GRAPH]
