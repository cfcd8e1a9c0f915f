"""Decomposed LSTM and GRU cells as operators again.

1. Steps that pass their state on and have the same weights become one operator over all of them; a step for itself
   becomes an operator over a sequence of one.
2. Inputs that are the time steps of one tensor are read from it, in order or in reverse; others are put together.
3. A Scan whose body is one cell and nothing else becomes one operator.
4. Every step's h may be used by others. A list of all of them, stacked, becomes Y itself.
5. Where something else uses an inner c, which the operator does not show, or an input depends on an earlier h by
   another way than the state, each step becomes an operator for itself.
6. What is no such cell, or whose steps differ in their weights, is left as it is. Names of the graph's inputs and
   outputs stay.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from rnnexport.onnx_files.nodes import bodies
from rnnexport.onnx_files.zeros import is_zero
from rnnexport.passes.output_shapes import infer_shapes
from rnnexport.passes.recognising.affine import AffineMaps
from rnnexport.passes.recognising.cell_runs import CellRun, find_runs
from rnnexport.passes.recognising.constants import Constants
from rnnexport.passes.recognising.decomposed_cells import StepFinder
from rnnexport.passes.recognising.selections import SelectedValue
from rnnexport.passes.writing.recurrent_operators import OperatorWriter
from rnnexport.passes.writing.scans import scan_run


class FuseCells(ir.passes.InPlacePass):
    """Put operators in the place of decomposed cells; see the rules of this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place."""
        return ir.passes.PassResult(model, modified=bool(fuse_cells(model)))


def fuse_cells(model: ir.Model) -> list[CellRun]:
    """Rewrite `model` in place, and return the layers that are operators now."""
    infer_shapes(model)
    finder = StepFinder(model, AffineMaps(Constants(model)))
    written = []
    loops = {id(body) for node in model.graph.all_nodes() if node.op_type in ("Scan", "Loop") for body in bodies(node)}
    for graph in [model.graph, *model.graph.subgraphs()]:
        if id(graph) in loops:
            continue  # an operator for one step, called by a loop, gains nothing
        runs = [run for run in find_runs([*finder.steps(graph)]) if _fits(run)]
        scans = [(node, run) for node in graph for run in _scanned(node, finder)]
        if not runs and not scans:
            continue
        writer = OperatorWriter(model, graph)
        for run in runs:
            parts = [run] if _is_whole(graph, run) else run.single_steps()
            for part in parts:
                writer.write(part)
            written += parts
        for node, run in scans:
            writer.write_scan(node, run)
            written.append(run)
        graph.sort()
    if written:
        RemoveUnusedNodesPass()(model)
    return written


def _scanned(node: ir.Node, finder: StepFinder) -> list[CellRun]:
    """The cell that a Scan is."""
    run = scan_run(node, [*finder.steps(node.attributes["body"].as_graph())]) if node.op_type == "Scan" else None
    return [run] if run is not None and _fits(run) else []


def _fits(run: CellRun) -> bool:
    """Whether every input and state is [B, n], with the same B as far as it is known."""
    h_n, c = run.steps[0].h_n, run.steps[0].c
    sources = [source for step in run.inputs for source in step]
    first = [value for value in (run.states[0], SelectedValue(c) if c is not None else None) if value is not None]
    sources += [state for state in first if not is_zero(state.tensor)]
    batches = [_batch(SelectedValue(h_n)), *(_batch(source) for source in sources)]
    return None not in batches and (batches[0] == 1 or 1 not in batches)


def _batch(source: SelectedValue) -> int | ir.SymbolicDim | None:
    """The size of the first axis of a matrix."""
    shape = source.value.shape
    rest = [] if shape is None else [size for axis, size in enumerate(shape) if axis != source.axis]
    return rest[0] if len(rest) == 2 else None


def _is_whole(graph: ir.Graph, run: CellRun) -> bool:
    """Whether the run can be one operator; rule 5."""
    if len(run.steps) == 1:
        return True
    shown = {cell.h_n for cell in run.steps}
    if _reached([source.tensor for step in run.inputs for source in step], set()) & shown:
        return False
    inner = {cell.c_n for cell in run.steps[:-1] if cell.c_n is not None}
    last = run.steps[-1].c_n
    return not _reached(graph.outputs, shown | ({last} if last is not None else set())) & inner


def _reached(values: Iterable[ir.Value | None], cuts: set[ir.Value]) -> set[ir.Value]:
    """These values and all that they are computed from, not looking behind `cuts`."""
    found: set[ir.Value] = set()
    waiting = [value for value in values if value is not None]
    while waiting:
        value = waiting.pop()
        if value in found:
            continue
        found.add(value)
        node = None if value in cuts else value.producer()
        if node is not None:
            inner_graphs = bodies(node)
            inside = [each for body in inner_graphs for inner in body.all_nodes() for each in inner.inputs]
            waiting += [each for each in (*node.inputs, *inside) if each is not None]
            waiting += [each for body in inner_graphs for each in body.outputs]
    return found
