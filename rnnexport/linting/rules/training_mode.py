"""Nodes that a forgotten `.eval()` leaves."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import node_name
from rnnexport.passes.evaluation_mode import EvaluationMode, trains


class TrainingMode(Rule):
    """Dropout and batch normalisation in training mode.

    The module was not in evaluation mode when it was exported.

    Example:
        y = Dropout(x, 0.5, training_mode=true)
    """

    name = "training-mode"
    severity = "error"
    title = "a node is in training mode"
    consequences = {
        "ONNX Runtime": "Dropout drops at random: every call gives another answer",
        "OpenVINO": "refuses to load the file",
    }
    changes_results = True

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look at `training_mode`."""
        for node in checked.model.graph.all_nodes():
            if trains(node):
                yield node_name(node), f"{node.op_type} is in training mode"

    def repair(self) -> ir.passes.InPlacePass:
        """Set evaluation mode."""
        return EvaluationMode()
