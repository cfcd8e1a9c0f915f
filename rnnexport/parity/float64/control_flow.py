"""If, Loop and Scan: how often a body runs, and on what.

A body is a function of its inputs, in order, that returns its outputs in order; what it captures it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.parity.float64.node import GraphNode

Body = Callable[[Sequence[Any]], list[Any]]
ControlFlow = Callable[..., tuple[Any, ...]]
"""Takes the node, its bodies by the attribute's name, and the node's inputs."""


def _if(_: GraphNode, bodies: Mapping[str, Body], condition: NDArray[Any]) -> tuple[Any, ...]:
    return tuple(bodies["then_branch" if bool(condition) else "else_branch"]([]))


def _loop(
    node: GraphNode,
    bodies: Mapping[str, Body],
    trips: NDArray[Any] | None = None,
    condition: NDArray[Any] | None = None,
    *states: Any,
) -> tuple[Any, ...]:
    limit = np.inf if trips is None else int(trips)
    going, carried, number = condition is None or bool(condition), list(states), 0
    scanned: list[list[Any]] = [[] for _ in node.outputs[len(states) :]]
    while going and number < limit:
        again, *results = bodies["body"]([np.array(number), np.array(True), *carried])
        going, carried = bool(again), results[: len(states)]
        for column, value in zip(scanned, results[len(states) :], strict=True):
            column.append(value)
        number += 1
    empty = _empty_outputs(node, 1 + len(states)) if number == 0 else []
    return (*carried, *(np.stack(column) if column else empty[i] for i, column in enumerate(scanned)))


def _scan(node: GraphNode, bodies: Mapping[str, Body], *inputs: Any) -> tuple[Any, ...]:
    count = node.get("num_scan_inputs")
    states, sequences = list(inputs[: len(inputs) - count]), inputs[len(inputs) - count :]
    axes = node.get("scan_input_axes", [0] * count)
    directions = node.get("scan_input_directions", [0] * count)
    time_major = [np.moveaxis(x, axis, 0) for x, axis in zip(sequences, axes, strict=True)]
    ordered = [x[::-1] if backward else x for x, backward in zip(time_major, directions, strict=True)]
    scanned: list[list[Any]] = [[] for _ in node.outputs[len(states) :]]
    steps = len(ordered[0])
    for t in range(steps):
        results = bodies["body"]([*states, *(x[t] for x in ordered)])
        states = results[: len(states)]
        for column, value in zip(scanned, results[len(states) :], strict=True):
            column.append(value)
    empty = _empty_outputs(node, len(states)) if steps == 0 else []
    outputs = []
    for i, column in enumerate(scanned):
        if node.get("scan_output_directions", [0] * len(scanned))[i]:
            column.reverse()
        stacked = np.stack(column) if column else empty[i]
        outputs.append(np.moveaxis(stacked, 0, node.get("scan_output_axes", [0] * len(scanned))[i]))
    return (*states, *outputs)


def _empty_outputs(node: GraphNode, first: int) -> list[NDArray[Any]]:
    """What a body that never ran would have stacked, as far as the graph declares its shape."""
    from onnx import helper

    graph = next(attribute.g for attribute in node.proto.attribute if attribute.name == "body")
    types = [value.type.tensor_type for value in graph.output[first:]]
    return [
        np.zeros([0, *(d.dim_value for d in t.shape.dim)], helper.tensor_dtype_to_np_dtype(t.elem_type)) for t in types
    ]


CONTROL_FLOW: dict[str, ControlFlow] = {"If": _if, "Loop": _loop, "Scan": _scan}
