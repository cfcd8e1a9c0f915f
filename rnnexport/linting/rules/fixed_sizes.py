"""Sizes that were fixed when the file was made."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.inspecting.layers import recurrent_nodes
from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import node_name, optional_input


class FixedBatch(Rule):
    """A recurrent layer for one batch size.

    It comes from an export without dynamic axes, or from initial states that were made with the example's batch size.

    Example:
        Y, Y_h = GRU(x: float[time, 1, 40], W, R, B, , initial_h: float[1, 1, 64])
    """

    name = "fixed-batch"
    severity = "warning"
    title = "the batch size is fixed"
    consequences = {"every runtime": "another batch size is refused; a server cannot batch requests"}

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look at X and the initial states of each recurrent node."""
        for node in recurrent_nodes(checked.model):
            batch_first = node.attributes.get_int("layout", 0) == 1
            sizes = [_size(node, position, 0 if batch_first else 1) for position in (0, 5, 6)]
            if fixed := [size for size in sizes if size is not None]:
                yield node_name(node), f"its batch is always {fixed[0]}"


class FixedTimeRule(Rule):
    """A recurrent layer for one number of time steps.

    It comes from an export without a dynamic time axis. A layer of one step is a step graph, and meant so.

    Example:
        Y = LSTM(x: float[100, batch, 40], W, R, B)
    """

    name = "fixed-time"
    severity = "warning"
    title = "the number of time steps is fixed"
    consequences = {"every runtime": "series of another length are refused, or have to be cut and padded"}

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look at X of each recurrent node; one step is a step graph, and meant so."""
        for node in recurrent_nodes(checked.model):
            steps = _size(node, 0, 1 if node.attributes.get_int("layout", 0) == 1 else 0)
            if steps is not None and steps > 1:
                yield node_name(node), f"it runs for {steps} steps, always"


def _size(node: ir.Node, position: int, axis: int) -> int | None:
    """A size of a node's input, where it is a number."""
    value = optional_input(node, position)
    size = value.shape[axis] if value is not None and value.shape is not None else None
    return size if isinstance(size, int) else None
