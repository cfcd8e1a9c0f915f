"""Batch-major recurrent operators."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.inspecting.layers import recurrent_nodes
from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import node_name
from rnnexport.passes.time_major import TimeMajor


class Layout(Rule):
    """An operator with `layout=1`.

    Operator sets 14 and later let X and Y have the batch first. Runtimes have not followed.

    Example:
        Y = GRU <hidden_size=64, layout=1> (x: float[batch, time, 40], W, R, B)
    """

    name = "layout-1"
    severity = "error"
    title = "the operator is batch-major (layout=1)"
    consequences = {
        "ONNX Runtime": "refuses to load the file",
        "OpenVINO": "reads it as time-major without a word, or refuses it where states or lengths no longer fit",
    }

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look at the attribute."""
        for node in recurrent_nodes(checked.model):
            if node.attributes.get_int("layout", 0):
                yield node_name(node), "layout is 1"

    def repair(self) -> ir.passes.InPlacePass:
        """Transpose around the operator instead."""
        return TimeMajor()
