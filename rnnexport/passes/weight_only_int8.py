"""A smaller file: the weights of recurrent nodes stored in 8 bits, and computed with in float32 as before.

1. W and R of LSTM, GRU and RNN nodes become int8 with a scale for each row, and a DequantizeLinear before the node.
2. Columns of W that would take the whole scale stay float32 where they are the last ones, as those of `padding_mask.py`
   are; elsewhere that W stays as it is.
3. Biases and peepholes, and weights that are computed, stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.errors import ExportError
from rnnexport.onnx_files.nodes import constant_tensor, node_name, optional_input
from rnnexport.onnx_files.operators import RECURRENT
from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.passes.quantizing.outlier_columns import outlier_columns
from rnnexport.passes.quantizing.quantization import quantize
from rnnexport.passes.recognising.recurrent import remove_unused

_WEIGHTS = {1: "W", 2: "R"}
OLDEST_OPSET = 13
"""The first operator set whose DequantizeLinear has a scale for each row."""


def why_not_stored(node: ir.Node) -> str | None:
    """Return why no weight of a node can be stored in 8 bits, or `None` if one can."""
    return None if any(_storable(node, position) is not None for position in _WEIGHTS) else "its weights are computed"


class WeightOnlyInt8(ir.passes.InPlacePass):
    """Store weights in 8 bits; see the rules of this module. A second run changes nothing."""

    def __init__(self, keep_float32: Collection[str] = ()) -> None:
        """Take the names of nodes that stay as they are."""
        super().__init__()
        self._keep_float32 = keep_float32

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place, sub-graphs included.

        Raises:
            ExportError: The operator set is too old; nothing was changed.
        """
        if (version := model.opset_imports.get("", 1)) < OLDEST_OPSET:
            raise ExportError(
                f"weights of 8 bits need operator set {OLDEST_OPSET}, the model has {version}; convert it"
            )
        modified = False
        for graph in list(model.graphs()):
            writer = GraphWriter(model, graph)
            for node in [node for node in graph if node.domain == "" and node.op_type in RECURRENT]:
                if node_name(node) not in self._keep_float32:
                    writer.before = node
                    modified = _rewrite(writer, node) or modified
        return ir.passes.PassResult(model, modified)


def _rewrite(writer: GraphWriter, node: ir.Node) -> bool:
    """Return whether anything was changed."""
    changed = []
    for position, letter in _WEIGHTS.items():
        weights = _storable(node, position)
        if weights is None:
            continue
        large = outlier_columns(weights)
        size = weights.shape[2] - len(large)
        name = f"{node_name(node)}.{letter}"
        stored = _stored(writer, weights[:, :, :size], name)
        if len(large):
            rest = writer.constant(weights[:, :, size:].copy(), f"{name}_large")
            stored = writer.op("Concat", [stored, rest], f"{name}_with_large", axis=2)
        old = node.inputs[position]
        node.replace_input_with(position, stored)
        changed.append(old)
    remove_unused(changed)
    return bool(changed)


def _storable(node: ir.Node, position: int) -> NDArray[np.float32] | None:
    """Weights [D, G·H, K] that are constant, float32, and not spread over large and small columns."""
    value = optional_input(node, position)
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return None
    weights = tensor.numpy()
    large = outlier_columns(weights)
    size = weights.shape[2] - len(large)
    return weights if size and np.all(large >= size) else None


def _stored(writer: GraphWriter, weights: NDArray[np.float32], name: str) -> ir.Value:
    """Weights [D, G·H, K]; the scales stand on one axis, so both first axes are one until they are dequantized."""
    rows = weights.reshape(-1, weights.shape[2])
    quantized = quantize(rows, 8, rows.shape[1])
    inputs = [
        writer.constant(quantized.codes[:, 0].copy(), f"{name}.codes"),
        writer.constant(quantized.scales[:, 0].copy(), f"{name}.scales"),
        writer.constant(np.zeros(len(rows), np.int8), f"{name}.zero_points"),
    ]
    wide = writer.op("DequantizeLinear", inputs, f"{name}.rows", axis=0)
    shape = writer.constant(np.array(weights.shape), f"{name}.shape")
    return writer.op("Reshape", [wide, shape], f"{name}.dequantized")
