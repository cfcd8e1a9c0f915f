"""What a layer that is written out gives, in place of its operator's outputs, with the least changes of layout.

1. Y is [T, D, B, H] and a state [D, B, H]; what has that layout already stays as it is.
2. A Squeeze that takes the only direction off Y goes: a direction's own y is [T, B, H].
3. No value is two outputs of a graph: the second one is a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import squeezed_axes
from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.passes.recognising.recurrent import Layer

_DIRECTION_AXIS = 1
"""Of Y."""


def replace_outputs(
    writer: GraphWriter, layer: Layer, results: Sequence[Sequence[ir.Value]], *, states_have_a_direction: bool
) -> None:
    """Replace a layer's node.

    Args:
        writer: Writes before the node.
        layer: The layer.
        results: Of each direction, y [T, B, H] and its final states.
        states_have_a_direction: Whether a state is [1, B, H], not [B, H].
    """
    graph, size = layer.node.graph, layer.hidden_size
    assert graph is not None
    replaced: list[tuple[ir.Value, ir.Value]] = []
    nodes = [layer.node]
    for index, old in enumerate(layer.outputs):
        values = [result[index] for result in results]
        if old is None:
            continue
        if index == 0 and len(values) == 1:
            found = squeezes(old)
            nodes += found
            replaced += [(squeeze.outputs[0], values[0]) for squeeze in found]
            if len(found) == len(old.uses()) and not old.is_graph_output():
                continue
        name = f"{layer.name}.joined_{('Y', 'Y_h', 'Y_c')[index]}"
        if index == 0 or not states_have_a_direction:
            sizes = writer.constant(np.array([0, 1, -1, size] if index == 0 else [1, -1, size]), f"{name}_shape")
            values = [writer.op("Reshape", [value, sizes], f"{name}_{n}") for n, value in enumerate(values)]
        axis = _DIRECTION_AXIS if index == 0 else 0
        replaced.append((old, values[0] if len(values) == 1 else writer.op("Concat", values, name, axis=axis)))
    replaced.sort(key=lambda pair: pair[0].is_graph_output())  # a value takes the name of what it last replaces
    outputs: list[ir.Value] = []
    for number, (old, new) in enumerate(replaced):
        if old.is_graph_output():
            own = writer.op("Identity", [new], f"{new.name}_copy") if new in outputs else new
            replaced[number] = (old, own)
            outputs.append(own)
    olds, news = [old for old, _ in replaced], [new for _, new in replaced]
    ir.convenience.replace_nodes_and_values(graph, layer.node, nodes, [], olds, news)


def squeezes(y: ir.Value) -> list[ir.Node]:
    """Return the nodes of the same graph that make [T, B, H] of Y [T, 1, B, H]."""
    users = [user for user, _ in y.uses() if user.op_type == "Squeeze" and user.graph is y.graph]
    return [user for user in users if squeezed_axes(user) in ([_DIRECTION_AXIS], [_DIRECTION_AXIS - 4])]
