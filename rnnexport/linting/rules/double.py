"""Recurrent operators in float64."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.inspecting.layers import recurrent_nodes
from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import node_name, required_input


class Double(Rule):
    """A recurrent layer whose inputs are double precision.

    The operator specification admits float64; the kernels of ONNX Runtime are made for float32 and float16.

    Example:
        Y = LSTM(x: double[time, batch, 3], W: double[1, 32, 3], R: double[1, 32, 8])
    """

    name = "double"
    severity = "error"
    title = "the layer computes in float64"
    consequences = {"ONNX Runtime": "loads LSTM and GRU and fails when they run; export the model in float32"}

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look at the type of the weights."""
        for node in recurrent_nodes(checked.model):
            if required_input(node, 1).dtype == ir.DataType.DOUBLE:
                yield node_name(node), "its weights are float64"
