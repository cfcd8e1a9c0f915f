"""A Scan whose body is one LSTM or GRU cell, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from rnnexport.passes.recognising.cell_runs import CellRun, step_weights
from rnnexport.passes.recognising.decomposed_cells import CellStep
from rnnexport.passes.recognising.selections import SelectedValue, without_identity


def scan_run(node: ir.Node, steps: Sequence[CellStep]) -> CellRun | None:
    """The cell of a Scan's body as a run, its values those of the body; `None` where the body is more than a cell.

    Args:
        node: The Scan.
        steps: The cells that were found in its body.
    """
    if len(steps) != 1:
        return None
    step, body = steps[0], node.attributes["body"].as_graph()
    states, inputs = _divided(node)
    after = dict(zip(states, map(without_identity, body.outputs), strict=False))
    h = next((value for value, new in after.items() if new is step.h_n), None)
    if h is None or SelectedValue(h) not in step.inputs or len(step.inputs[SelectedValue(h)]) != step.hidden_size:
        return None
    expected = {h: step.h_n} if step.c is None or step.c_n is None else {h: step.h_n, step.c: step.c_n}
    outputs = list(map(without_identity, body.outputs))[len(states) :]
    others = [source for source in step.inputs if source != SelectedValue(h)]
    simple = after == expected and all(value is step.h_n for value in outputs)
    if not simple or any(source.axis is not None or source.value not in inputs for source in others):
        return None
    if step.h is not None and step.h != SelectedValue(h):
        return None
    directions = {
        direction
        for name, values in (("scan_input_directions", inputs), ("scan_output_directions", outputs))
        for direction in node.attributes.get_ints(name, [0] * len(values))
    }
    return CellRun((step,), (SelectedValue(h),), step_weights(step, SelectedValue(h))) if len(directions) == 1 else None


def scan_inputs(node: ir.Node, run: CellRun) -> tuple[list[tuple[ir.Value, int]], list[ir.Value]]:
    """What the Scan gets for the inputs of a run, each with its axis of time, and for its h (and c)."""
    states, inputs = _divided(node)
    outer = dict(zip([*states, *inputs], node.inputs, strict=True))
    axes = dict(zip(inputs, node.attributes.get_ints("scan_input_axes", [0] * len(inputs)), strict=True))
    sequences = [(outer[source.value], axes[source.value]) for source in run.inputs[0]]
    first = [value for value in (run.states[0].value if run.states[0] else None, run.steps[0].c) if value is not None]
    given = [outer[value] for value in first]
    return [(value, axis) for value, axis in sequences if value is not None], [v for v in given if v is not None]


def scan_outputs(node: ir.Node, run: CellRun) -> tuple[list[ir.Value], list[tuple[ir.Value, int]]]:
    """The Scan's last h (and c), and each of its sequences of h with the axis of time."""
    states, _ = _divided(node)
    first = [value for value in (run.states[0].value if run.states[0] else None, run.steps[0].c) if value is not None]
    sequences = node.outputs[len(states) :]
    axes = node.attributes.get_ints("scan_output_axes", [0] * len(sequences))
    return [node.outputs[states.index(value)] for value in first], list(zip(sequences, axes, strict=True))


def is_reverse(node: ir.Node) -> bool:
    """Whether the Scan begins at the end."""
    return 1 in node.attributes.get_ints("scan_input_directions", [0])


def _divided(node: ir.Node) -> tuple[list[ir.Value], list[ir.Value]]:
    """The body's states and its inputs of each step."""
    values = list(node.attributes["body"].as_graph().inputs)
    count = node.attributes.get_int("num_scan_inputs", 0)
    return values[: len(values) - count], values[len(values) - count :]
