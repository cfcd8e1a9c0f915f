"""Lengths that a runtime ignores."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.inspecting.layers import recurrent_nodes
from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import node_name, optional_input, required_input
from rnnexport.passes.lengths import ExactLengths


class SequenceLens(Rule):
    """`sequence_lens` with dynamic shapes.

    PyTorch's exporters turn a packed sequence into this input. It says where each row of a padded batch ends.

    Example:
        Y, Y_h = GRU(x: float[time, batch, 40], W, R, B, lengths: int32[batch])
    """

    name = "sequence-lens"
    severity = "error"
    title = "lengths are given by sequence_lens, and a dimension is dynamic"
    consequences = {
        "OpenVINO": "ignores the lengths without a word: padding is read as data",
        "ONNX Runtime": "a row of length 0 loses its initial state",
    }

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look for the input, and for a size of X that is not a number."""
        for node in recurrent_nodes(checked.model):
            shape = required_input(node, 0).shape
            dynamic = shape is None or any(not isinstance(size, int) for size in shape)
            if optional_input(node, 4) is not None and dynamic:
                yield node_name(node), "sequence_lens is given"

    def repair(self) -> ir.passes.InPlacePass:
        """Put the lengths into a mask that every runtime keeps."""
        return ExactLengths()
