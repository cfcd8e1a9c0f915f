"""A reverse or bidirectional node as forward nodes, for those that cannot stand still on padding.

Reversing each row within its length, running forward and reversing the output is what the reverse direction does. One
fused node for both directions is mostly as fast and leaves the graph smaller, so this is for nodes that need it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import node_name, required_input, used_output
from rnnexport.onnx_files.writer import GraphWriter

_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_OUTPUTS = ("Y", "Y_h", "Y_c")
_SHARED = ("X", "sequence_lens")
"""All other inputs have the direction on their first axis."""


def why_not_divisible(node: ir.Node) -> str | None:
    """Return why the node cannot be written as forward nodes, or `None` if it can."""
    activations = node.attributes.get_strings("activations") or ()
    same = list(_half(activations, 0)) == list(_half(activations, 1))
    numbers = [node.attributes.get_floats(key) or () for key in ("activation_alpha", "activation_beta")]
    if _is_bidirectional(node) and any(numbers) and not (same and all(len(each) % 2 == 0 for each in numbers)):
        return "its directions share activation_alpha or activation_beta"
    if _hidden_size(node) is None:
        return "it does not say its hidden_size"
    return None


def write_forward_nodes(
    writer: GraphWriter, node: ir.Node, lengths: ir.Value
) -> tuple[list[ir.Node], list[tuple[ir.Value, ir.Value]]]:
    """Write forward nodes that together compute what the reverse or bidirectional `node` does.

    Args:
        writer: Writes before `node`.
        node: A node with lengths for which `why_not_divisible` is `None`.
        lengths: Its lengths [B], int64.

    Returns:
        The one or two nodes, which still have lengths, and each used output of `node` with what takes its place.
    """
    directions = ["forward", "backward"] if _is_bidirectional(node) else ["backward"]
    halves = [_write_half(writer, node, lengths, half, direction) for half, direction in enumerate(directions)]
    replaced = []
    for index, name in enumerate(_OUTPUTS):
        if old := used_output(node, index):
            parts = [half.outputs[index] for half in halves]
            if name == "Y":
                parts[-1] = _output_in_order(writer, halves[-1], lengths)
            joined = writer.op("Concat", parts, f"{node_name(node)}.joined_{name}", axis=1 if name == "Y" else 0)
            replaced.append((old, joined))
    return halves, replaced


def _write_half(writer: GraphWriter, node: ir.Node, lengths: ir.Value, half: int, direction: str) -> ir.Node:
    """Write the forward node of one half; the backward half's Y is in reverse order."""
    prefix = f"{node_name(node)}.{direction}"
    inputs = [
        value if value is None or name in _SHARED else _share(writer, value, half, f"{prefix}.{name}")
        for name, value in zip(_INPUTS, node.inputs, strict=False)
    ]
    if direction == "backward":
        inputs[0] = _reversed(writer, required_input(node, 0), lengths, f"{prefix}.X")
    names = [f"{prefix}.{name}" for name in _OUTPUTS[: 3 if node.op_type == "LSTM" else 2]]
    half_node = writer.node(node.op_type, inputs, names, _half_attributes(node, half))[0].producer()
    assert half_node is not None
    return half_node


def _output_in_order(writer: GraphWriter, half_node: ir.Node, lengths: ir.Value) -> ir.Value:
    """Y [T, 1, B, H] of a backward half. ReverseSequence wants the batch on the second axis."""
    y, hidden_size = half_node.outputs[0], _hidden_size(half_node)
    by_row = writer.constant(np.array([0, -1, hidden_size]), f"{y.name}_by_row_shape")
    y_by_row = writer.op("Reshape", [y, by_row], f"{y.name}_by_row")
    in_order = _reversed(writer, y_by_row, lengths, f"{y.name}_by_row")
    as_output = writer.constant(np.array([0, 1, -1, hidden_size]), f"{y.name}_shape")
    return writer.op("Reshape", [in_order, as_output], f"{y.name}_in_order")


def _share(writer: GraphWriter, value: ir.Value, half: int, name: str) -> ir.Value:
    """One direction's share [1, …] of a value [D, …]."""
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None:
        return writer.constant(tensor.numpy()[half : half + 1], name)
    return writer.op("Gather", [value, writer.constant(np.array([half]), f"{name}_index")], name, axis=0)


def _reversed(writer: GraphWriter, value: ir.Value, lengths: ir.Value, name: str) -> ir.Value:
    """`value` [T, B, …] with the valid steps of each row in reverse order."""
    return writer.op("ReverseSequence", [value, lengths], f"{name}_reversed", time_axis=0, batch_axis=1)


def _half_attributes(node: ir.Node, half: int) -> list[ir.Attr]:
    attributes = {key: attribute for key, attribute in node.attributes.items() if key != "direction"}
    if _is_bidirectional(node):
        for key in {"activations", "activation_alpha", "activation_beta"} & attributes.keys():
            attribute = attributes[key]
            attributes[key] = ir.Attr(key, attribute.type, _half(attribute.value, half))
    return list(attributes.values())


def _half(items: Sequence[object], half: int) -> Sequence[object]:
    middle = len(items) // 2
    return items[middle:] if half else items[:middle]


def _is_bidirectional(node: ir.Node) -> bool:
    return node.attributes.get_string("direction", "forward") == "bidirectional"


def _hidden_size(node: ir.Node) -> int | None:
    r = node.inputs[_INPUTS.index("R")]
    from_weights = r.shape[2] if r is not None and r.shape is not None else None
    return node.attributes.get_int("hidden_size", from_weights if isinstance(from_weights, int) else None)
