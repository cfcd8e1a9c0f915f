"""A sequence graph as a step graph: states come in and go out, so that a series can be fed in chunks.

Taken for granted: what happens outside the recurrent nodes treats every time step alike. A graph cannot show that, so
whoever writes a step graph must run both and compare.

1. Every recurrent node gets its states as inputs and gives them as outputs, [1, batch, hidden_size] each: `h_0` → `h_n`
   and, for an LSTM, `c_0` → `c_n`; with several nodes `h_0_l0` → `h_n_l0` and so on, in the order of the graph.
2. A state that the graph takes and returns already keeps its names and layout.
3. Lengths are dropped: every step of a chunk counts.
4. The pairs stand in `metadata_props` as `rnnexport.state_pairs`, a JSON list of [input, output]; the names of the
   dimension that is cut into chunks and of the streams' as `rnnexport.time_dimension` and `rnnexport.batch_dimension`.
5. Refused: a reverse or bidirectional node, which needs the end of the series first; a start that is not zero, which a
   caller could not know; nodes whose steps are of different dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from rnnexport.errors import ExportError
from rnnexport.onnx_files.nodes import RefusedNodeError, optional_input, required_input
from rnnexport.onnx_files.operators import LAYOUT, STATES
from rnnexport.onnx_files.zeros import is_zero
from rnnexport.passes.drop_lengths import DropLengths

STATE_PAIRS = "rnnexport.state_pairs"
TIME_DIMENSION, BATCH_DIMENSION = "rnnexport.time_dimension", "rnnexport.batch_dimension"
_SAME_ELEMENTS = LAYOUT - {"Gather"}


class StepGraph(ir.passes.InPlacePass):
    """Give a graph its states as inputs and outputs; see the rules of this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place.

        Raises:
            RefusedNodeError: A node cannot be run step by step.
            ExportError: There is no recurrent node, or the nodes' steps are of different dimensions.
        """
        if STATE_PAIRS in model.metadata_props:
            return ir.passes.PassResult(model, modified=False)
        DropLengths()(model)
        ShapeInferencePass()(model)
        nodes = [node for node in model.graph if node.op_type in STATES]
        if not nodes:
            raise ExportError("the graph has no recurrent node, so there is nothing to run step by step")
        time_dimension, batch_dimension = common_dimension(nodes, 0), common_dimension(nodes, 1)
        if not time_dimension:
            raise ExportError(
                "the recurrent layers do not all run over one dynamic time dimension, so they cannot run step by step"
            )
        for node in nodes:
            if node.attributes.get_string("direction", "forward") != "forward":
                raise RefusedNodeError(
                    node, "it reads the series from its end, so it cannot run step by step; use one direction"
                )
        pairs: dict[str, str] = {}
        for number, node in enumerate(nodes):
            suffix = f"_l{number}" if len(nodes) > 1 else ""
            pairs |= dict(_pair(model.graph, node, state, suffix) for state in STATES[node.op_type])
        model.metadata_props[STATE_PAIRS] = json.dumps(list(pairs.items()))
        model.metadata_props[TIME_DIMENSION] = time_dimension
        model.metadata_props[BATCH_DIMENSION] = batch_dimension
        return ir.passes.PassResult(model, modified=True)


def state_pairs(model: ir.Model) -> list[tuple[str, str]]:
    """Return the (input, output) pairs of a step graph; none for any other graph."""
    return [(before, after) for before, after in json.loads(model.metadata_props.get(STATE_PAIRS, "[]"))]


def common_dimension(nodes: list[ir.Node], axis: int) -> str:
    """The name that an axis of X has in every recurrent node; empty where it has none, or another one."""
    names = set()
    for node in nodes:
        shape = required_input(node, 0).shape
        size = shape[axis] if shape is not None else None
        names.add(size.value or "" if isinstance(size, ir.SymbolicDim) else "")
    return names.pop() if len(names) == 1 else ""


def _pair(graph: ir.Graph, node: ir.Node, state: tuple[int, int, str], suffix: str) -> tuple[str, str]:
    """Return the (input, output) names of one state of a node, made where there are none."""
    position, result, letter = state
    initial = optional_input(node, position)
    if is_zero(initial):
        return _new_pair(graph, node, state, suffix)
    given = _graph_input(initial)
    if given is None:
        raise RefusedNodeError(
            node,
            f"its {letter}_0 is neither zero nor an input, so a stream could not start; make it an input of forward",
        )
    for value in _reached(node.outputs[result]) if len(node.outputs) > result else ():
        if value.is_graph_output() and value.shape == given.shape:
            return given.name or "", value.name or ""
    raise RefusedNodeError(
        node,
        f"its {letter}_0 is the input {given.name!r}, but no output of the same shape is its {letter}_n; return it",
    )


def _new_pair(graph: ir.Graph, node: ir.Node, state: tuple[int, int, str], suffix: str) -> tuple[str, str]:
    position, result, letter = state
    x = required_input(node, 0)
    recurrence = required_input(node, 2)
    assert x.shape is not None
    assert recurrence.shape is not None
    shape = ir.Shape([1, x.shape[1], recurrence.shape[2]])
    before = ir.Value(name=f"{letter}_0{suffix}", type=x.type, shape=shape)
    node.resize_inputs(max(len(node.inputs), position + 1))
    node.replace_input_with(position, before)
    graph.inputs.append(before)
    node.resize_outputs(max(len(node.outputs), result + 1))
    after = node.outputs[result]
    if after.is_graph_output():
        return before.name or "", after.name or ""
    after.name = f"{letter}_n{suffix}"
    after.type, after.shape = x.type, shape
    graph.outputs.append(after)
    return before.name or "", after.name


def _graph_input(value: ir.Value | None) -> ir.Value | None:
    """The graph input that `value` is, seen through changes of layout."""
    while value is not None and not value.is_graph_input():
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type in _SAME_ELEMENTS else None
    return value


def _reached(value: ir.Value) -> Iterator[ir.Value]:
    """`value` and what it becomes through changes of layout."""
    yield value
    for node, _ in value.uses():
        if node.op_type in _SAME_ELEMENTS:
            for output in node.outputs:
                yield from _reached(output)
