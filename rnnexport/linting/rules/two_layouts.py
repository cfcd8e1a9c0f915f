"""Inputs of recurrent layers that something else reads, too."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.inspecting.layers import recurrent_nodes
from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import node_name, required_input
from rnnexport.passes.transpositions import SWAP, Transpositions, permutation, read_by_several, readers


class TwoLayouts(Rule):
    """The input of a recurrent layer is also transposed for another reader.

    A plug-in that moves the transposition into the recurrent node hands the moved data to the other reader as well.

    Example:
        Y = LSTM(x, W, R, B)
        t = Transpose <perm=[1, 0, 2]> (x)
    """

    name = "two-layouts"
    severity = "error"
    title = "a recurrent layer's input is also read transposed"
    consequences = {"OpenVINO": "may give the other reader the wrong elements without a word (2026.4, static shapes)"}

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look at the readers of X, where X itself is computed."""
        for node in recurrent_nodes(checked.model):
            x = required_input(node, 0)
            readers = [user for user, _ in x.uses() if permutation(user) == SWAP]
            if readers and x.producer() is not None:
                yield node_name(node), f"its input is also transposed by {node_name(readers[0])!r}"

    def repair(self) -> ir.passes.InPlacePass:
        """Write the transpositions so that OpenVINO reads both right."""
        return Transpositions()


class SideBySide(Rule):
    """Two recurrent layers on one input.

    Two encoders of one series, or an LSTM beside a GRU.

    Example:
        Y1 = LSTM(x, W1, R1, B1)
        Y2 = GRU(x, W2, R2, B2)
    """

    name = "side-by-side"
    severity = "error"
    title = "two recurrent layers read the same input"
    consequences = {"OpenVINO": "the first gets the wrong elements without a word where batch and time are above 1"}

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look for one-directional nodes with the same X."""
        for graph in checked.model.graphs():
            for value in read_by_several(graph):
                first, second = readers(value, graph)[:2]
                yield node_name(first), f"its input is also read by {node_name(second)!r}"

    def repair(self) -> ir.passes.InPlacePass:
        """Give each its own input."""
        return Transpositions()
