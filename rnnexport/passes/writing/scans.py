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
    results = [without_identity(value) for value in body.outputs]
    new_states, outputs = dict(zip(states, results, strict=False)), results[len(states) :]
    h = next((state for state, new in new_states.items() if new is step.h_n), None)
    if h is None or not _is_state_of(SelectedValue(h), step):
        return None
    carried = {h: step.h_n} if step.c is None or step.c_n is None else {h: step.h_n, step.c: step.c_n}
    if new_states != carried or any(value is not step.h_n for value in outputs):
        return None
    others = [source for source in step.inputs if source != SelectedValue(h)]
    if any(source.axis is not None or source.value not in inputs for source in others):
        return None
    if len(_directions(node, len(inputs), len(outputs))) != 1:
        return None
    return CellRun((step,), (SelectedValue(h),), step_weights(step, SelectedValue(h)))


def scan_inputs(node: ir.Node, run: CellRun) -> tuple[list[tuple[ir.Value, int]], list[ir.Value]]:
    """What the Scan gets for the inputs of a run, each with its axis of time, and for its h (and c)."""
    states, inputs = _divided(node)
    outer = dict(zip([*states, *inputs], node.inputs, strict=True))
    axes = dict(zip(inputs, node.attributes.get_ints("scan_input_axes", [0] * len(inputs)), strict=True))
    sequences = [(outer[source.value], axes[source.value]) for source in run.inputs[0]]
    first = [outer[state] for state in _carried(run)]
    return [(value, axis) for value, axis in sequences if value is not None], [v for v in first if v is not None]


def scan_outputs(node: ir.Node, run: CellRun) -> tuple[list[ir.Value], list[tuple[ir.Value, int]]]:
    """The Scan's last h (and c), and each of its sequences of h with the axis of time."""
    states, _ = _divided(node)
    sequences = node.outputs[len(states) :]
    axes = node.attributes.get_ints("scan_output_axes", [0] * len(sequences))
    return [node.outputs[states.index(state)] for state in _carried(run)], list(zip(sequences, axes, strict=True))


def is_reverse(node: ir.Node) -> bool:
    """Whether the Scan begins at the end."""
    return 1 in node.attributes.get_ints("scan_input_directions", [0])


def _divided(node: ir.Node) -> tuple[list[ir.Value], list[ir.Value]]:
    """The body's states and its inputs of each step."""
    values = list(node.attributes["body"].as_graph().inputs)
    count = node.attributes.get_int("num_scan_inputs", 0)
    return values[: len(values) - count], values[len(values) - count :]


def _is_state_of(h: SelectedValue, step: CellStep) -> bool:
    """Whether a cell may read this value as its h: through a square matrix, and as what it mixes, if it mixes."""
    return h in step.inputs and len(step.inputs[h]) == step.hidden_size and step.h in (None, h)


def _carried(run: CellRun) -> list[ir.Value]:
    """The body's h (and c) of a run of one step."""
    h = run.states[0]
    return [value for value in (h.value if h else None, run.steps[0].c) if value is not None]


def _directions(node: ir.Node, inputs: int, outputs: int) -> set[int]:
    """In which directions a Scan reads and writes."""
    return {
        *node.attributes.get_ints("scan_input_directions", [0] * inputs),
        *node.attributes.get_ints("scan_output_directions", [0] * outputs),
    }
