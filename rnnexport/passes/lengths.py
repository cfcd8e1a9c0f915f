"""Lengths that every runtime keeps: LSTM, GRU and RNN nodes without `sequence_lens`, the same function.

OpenVINO ignores `sequence_lens` where shapes are dynamic, and both it and ONNX Runtime lose the state of a row of
length 0. The fused operators without lengths are right everywhere, so the lengths are moved out of them. Rules:

1. A forward node reads padding only after a row's last valid step, so what it does there can be left as it is, whatever
   stands in X. This covers all attributes. Its Y_c is the exception: no output holds c at the last valid step.
2. A reverse or bidirectional node, and one whose Y_c is used, must stand still on padding: X is replaced there by 0
   (NaN or 1e30 never reaches a state) and gets the column of `padding_mask.py`, which is 1 on padding.
3. A reverse or bidirectional node that cannot stand still becomes one or two forward nodes on reversed input, see
   `directions.py`. So does an LSTM with an initial h: its backward half meets padding first, where h would become 0.
4. Y is 0 on padding, as the operator says, by a Where; left out if Y only feeds recurrent nodes with the same lengths,
   since those do not read it there (rules 1 and 2).
5. Y_h is gathered from Y: a forward half's at the last valid step, a backward half's at step 0.
6. A row of length 0 keeps its state: Y_h = initial_h and Y_c = initial_c, or 0 without them.
7. Masks are written once for nodes with the same lengths and, as far as the graph shows it, the same time axis.
8. Names of graph inputs and outputs, and of the values that nodes compute, stay. New names follow from the old ones.
9. What cannot be rewritten is refused by name before anything is changed: an LSTM whose Y_c is used but which cannot
   stand still, and forms no runtime has. Functions are not searched: inline them first.

Lengths below 0 or over T, which the operator does not allow, count as 0 and T, or the runtime refuses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import (
    RefusedNodeError,
    node_name,
    optional_input,
    required_input,
    uncast,
    used_output,
)
from rnnexport.onnx_files.operators import INITIAL_H, RECURRENT, SEQUENCE_LENS, Y_C, Y_H, B, W, X, Y
from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.onnx_files.zeros import is_zero
from rnnexport.passes.recognising.joined_directions import joins_directions
from rnnexport.passes.writing.directions import why_not_divisible, write_forward_nodes
from rnnexport.passes.writing.length_masks import LengthMasks
from rnnexport.passes.writing.padding_mask import mask_weights, why_not_maskable

_MIN_OPSET = 11
"""The first operator set with Range and GatherND."""


class ExactLengths(ir.passes.InPlacePass):
    """Rewrite every LSTM, GRU and RNN node that has `sequence_lens`; see the rules of this module.

    Takes a valid model of operator set 11 or later whose nodes stand in topological order. Leaves a valid model in
    which no recurrent node has lengths. A second run changes nothing.

    Raises:
        ExportError: A node cannot be rewritten; nothing was changed.
    """

    def requires(self, model: ir.Model) -> None:
        """Refuse what cannot be rewritten.

        Raises:
            RefusedNodeError: With the node's name and the reason.
        """
        for graph in model.graphs():
            for node in _nodes_with_lengths(graph):
                _check(node, model.opset_imports.get("", 1))

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite all nodes, those of subgraphs included."""
        modified = False
        for graph in list(model.graphs()):
            rewriter = _GraphRewriter(model, graph)
            for node in list(_nodes_with_lengths(graph)):
                rewriter.rewrite(node)
                modified = True
        return ir.passes.PassResult(model, modified)

    def ensures(self, model: ir.Model) -> None:
        """Check that no lengths are left.

        Raises:
            PostconditionError: A node still has lengths; a defect of this pass.
        """
        for graph in model.graphs():
            for node in _nodes_with_lengths(graph):
                raise ir.passes.PostconditionError(f"node {node_name(node)!r} still has sequence_lens")


def _nodes_with_lengths(graph: ir.Graph) -> Iterator[ir.Node]:
    recurrent = (node for node in graph if node.domain == "" and node.op_type in RECURRENT)
    return (node for node in recurrent if optional_input(node, SEQUENCE_LENS) is not None)


def _check(node: ir.Node, opset_version: int) -> None:
    if opset_version < _MIN_OPSET:
        raise RefusedNodeError(
            node, f"lengths need operator set {_MIN_OPSET}, the model has {opset_version}; convert it"
        )
    if node.attributes.get_int("layout", 0):
        raise RefusedNodeError(node, "layout=1 runs in no runtime; write the node with layout=0 and Transpose")
    _dtype(node)
    reason = why_not_maskable(node) if used_output(node, Y_C) else None
    if _must_divide(node):
        reason = reason or why_not_divisible(node)
    if reason:
        raise RefusedNodeError(node, f"its lengths cannot be kept exactly: {reason}")


def _direction(node: ir.Node) -> str:
    return node.attributes.get_string("direction", "forward")


def _needs_mask(node: ir.Node) -> bool:
    """Rules 1 and 2."""
    return _direction(node) != "forward" or used_output(node, Y_C) is not None


def _must_divide(node: ir.Node) -> bool:
    """Rule 3."""
    loses_h = node.op_type == "LSTM" and not is_zero(optional_input(node, INITIAL_H))
    return _direction(node) != "forward" and (loses_h or why_not_maskable(node) is not None)


def _dtype(node: ir.Node) -> ir.DataType:
    for value in node.inputs[: B + 1]:
        if value is not None and value.dtype is not None:
            return value.dtype
    raise RefusedNodeError(node, "the type of its inputs is unknown; infer shapes and types first")


class _GraphRewriter:
    """Rewrites the nodes of one graph, which must come in topological order."""

    def __init__(self, model: ir.Model, graph: ir.Graph) -> None:
        self._graph = graph
        self._writer = GraphWriter(model, graph)
        self._masks: dict[tuple[ir.Value | None, ir.Value], LengthMasks] = {}
        self._time_axes: dict[ir.Value, ir.Value] = {}
        """From the Y of a node that was rewritten to the value that its time axis comes from."""

    def rewrite(self, node: ir.Node) -> None:
        """Put what has no lengths in place of `node`."""
        self._writer.before = node
        time_axis = self._time_axis(node)
        masks = self._masks_for(node, time_axis)
        if _must_divide(node):
            halves, replaced = write_forward_nodes(self._writer, node, masks.lengths())
            self._time_axes |= {required_input(half, X): time_axis for half in halves}
        else:
            halves, replaced = [], self._write_without_lengths(node, masks)
        self._time_axes |= {new: time_axis for old, new in replaced if old is node.outputs[Y]}
        self._replace(node, replaced)
        for half in halves:
            self.rewrite(half)

    def _write_without_lengths(self, node: ir.Node, masks: LengthMasks) -> list[tuple[ir.Value, ir.Value]]:
        """Write the node without lengths; return each used output and what takes its place."""
        inputs = self._masked_inputs(node, masks) if _needs_mask(node) else list(node.inputs)
        inputs[SEQUENCE_LENS] = None
        while inputs[-1] is None:
            inputs.pop()
        names = [f"{node_name(node)}.padded_{name}" for name in ("Y", "Y_h", "Y_c")]
        count = 3 if used_output(node, Y_C) else 1
        padded = self._writer.node(node.op_type, inputs, names[:count], list(node.attributes.values()))
        replaced = []
        if y := used_output(node, Y):
            replaced.append((y, self._valid_y(node, y, padded[Y], masks)))
        if y_h := used_output(node, Y_H):
            replaced.append((y_h, self._last_y_h(node, padded[Y], masks)))
        if y_c := used_output(node, Y_C):
            replaced.append((y_c, padded[Y_C]))
        return replaced

    def _masks_for(self, node: ir.Node, time_axis: ir.Value) -> LengthMasks:
        lengths = required_input(node, SEQUENCE_LENS)
        key = (uncast(lengths), time_axis)
        if key not in self._masks:
            self._masks[key] = LengthMasks(self._writer, f"{node_name(node)}.lengths", required_input(node, X), lengths)
        return self._masks[key]

    def _time_axis(self, node: ir.Node) -> ir.Value:
        """The value whose first axis is the node's time axis: that of the layer below, or its own X."""
        x = required_input(node, X)
        return self._time_axes.get(_layer_output(x) or x, x)

    def _masked_inputs(self, node: ir.Node, masks: LengthMasks) -> list[ir.Value | None]:
        """X with the column of the padding mask and W with its weights; rule 2."""
        name = node_name(node)
        valid_x = self._writer.op(
            "Where", [masks.valid(), required_input(node, X), self._zero(node)], f"{name}.valid_X"
        )
        inputs = list(node.inputs)
        inputs[X] = self._writer.op("Concat", [valid_x, masks.padding(_dtype(node))], f"{name}.frozen_X", axis=2)
        inputs[W] = self._writer.constant(mask_weights(node), f"{name}.frozen_W")
        return inputs

    def _valid_y(self, node: ir.Node, y: ir.Value, padded_y: ir.Value, masks: LengthMasks) -> ir.Value:
        """Rule 4."""
        if _only_read_where_valid(y, required_input(node, SEQUENCE_LENS)):
            return padded_y
        inputs = [masks.valid_output(), padded_y, self._zero(node)]
        return self._writer.op("Where", inputs, f"{node_name(node)}.valid_Y")

    def _last_y_h(self, node: ir.Node, padded_y: ir.Value, masks: LengthMasks) -> ir.Value:
        """Rules 5 and 6."""
        name, initial_h = node_name(node), optional_input(node, INITIAL_H) or self._zero(node)
        last = self._writer.op("GatherND", [padded_y, masks.last_state_index(_direction(node))], f"{name}.last_h")
        return self._writer.op("Where", [masks.is_empty(), initial_h, last], f"{name}.last_Y_h")

    def _replace(self, node: ir.Node, replaced: Sequence[tuple[ir.Value, ir.Value]]) -> None:
        """Let new values take the names and readers of old ones; remove the node, and weights that nobody reads."""
        weights = [value for value in node.inputs[W:SEQUENCE_LENS] if value is not None]
        old, new = [each[0] for each in replaced], [each[1] for each in replaced]
        ir.convenience.replace_nodes_and_values(self._graph, node, [node], [], old, new)
        for weight in weights:
            _remove_if_unused(weight)

    def _zero(self, node: ir.Node) -> ir.Value:
        return self._writer.constant(np.array(0, _dtype(node).numpy()), "exact_lengths.zero")


def _remove_if_unused(weight: ir.Value) -> None:
    if weight.uses() or weight.is_graph_output() or weight.is_graph_input():
        return
    if weight.is_initializer() and weight.graph is not None and weight.name is not None:
        weight.graph.initializers.pop(weight.name)


def _layer_output(x: ir.Value) -> ir.Value | None:
    """The Y that `x` [T, B, D·H] is, in other shape; `None` if the graph does not show it."""
    node = x.producer()
    if not joins_directions(node):
        return None
    assert node is not None
    source = node.inputs[0]
    return source if source is None else _layer_output(source) or source


def _only_read_where_valid(value: ir.Value, lengths: ir.Value) -> bool:
    """Whether all that reads Y, or Y in other shape, is a recurrent node with the same lengths."""
    if value.is_graph_output():
        return False
    for node, index in value.uses():
        other = optional_input(node, SEQUENCE_LENS) if node.op_type in RECURRENT and index == X else None
        is_layer = other is not None and uncast(other) is uncast(lengths)
        if not is_layer and not (joins_directions(node) and _only_read_where_valid(node.outputs[0], lengths)):
            return False
    return True
