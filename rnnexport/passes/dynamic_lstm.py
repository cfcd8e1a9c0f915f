"""LSTM nodes as ONNX Runtime's DynamicQuantizeLSTM: still one fused operator, with weights of 8 bits.

1. Each row of W and R has a scale of its own. X has one scale for all rows and steps of a call, and so has h.
2. With `sequence_lens`, X is therefore replaced by 0 on padding. Where a graph has kept its lengths in another way,
   what stands on padding takes part in the scale: pad such a graph with zeros.
3. There is no such operator for GRU. An LSTM of other equations than the usual ones, with computed weights, or with
   columns of W that would take the whole scale, stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import node_name
from rnnexport.onnx_files.operators import B, R, W, X
from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.passes.quantizing.outlier_columns import outlier_columns
from rnnexport.passes.quantizing.quantization import quantize
from rnnexport.passes.recognising.recurrent import Array, is_recurrent, read_layer, remove_unused, why_not_readable
from rnnexport.passes.writing.length_masks import LengthMasks
from rnnexport.passes.writing.matmul_kernels import MICROSOFT

_INPUTS_BEFORE_SCALES = 8


def why_not_dynamic(node: ir.Node) -> str | None:
    """Return why a node cannot become a DynamicQuantizeLSTM, or `None` if it can."""
    if node.op_type != "LSTM":
        return "there is no fused GRU with int8 weights; write it out with scan or unrolled"
    if reason := why_not_readable(node):
        return reason
    if any(len(outlier_columns(direction.w)) for direction in read_layer(node).directions):
        return "some columns of W are too large to share a scale with the others"
    return None


class DynamicLstm(ir.passes.InPlacePass):
    """Quantize LSTM nodes; see the rules of this module. A second run changes nothing."""

    def __init__(self, keep_float32: Collection[str] = ()) -> None:
        """Take the names of nodes that stay as they are."""
        super().__init__()
        self._keep_float32 = keep_float32

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place, sub-graphs included."""
        modified = False
        for graph in list(model.graphs()):
            writer = GraphWriter(model, graph)
            for node in [node for node in graph if is_recurrent(node) and why_not_dynamic(node) is None]:
                if node_name(node) not in self._keep_float32:
                    writer.before, modified = node, True
                    _rewrite(writer, graph, node)
        if modified:
            model.opset_imports.setdefault(MICROSOFT, 1)
        return ir.passes.PassResult(model, modified)


def _rewrite(writer: GraphWriter, graph: ir.Graph, node: ir.Node) -> None:
    layer, weights = read_layer(node), node.inputs[W:B]
    inputs: list[ir.Value | None] = [*node.inputs, *[None] * (_INPUTS_BEFORE_SCALES - len(node.inputs))]
    if layer.lengths is not None:
        valid = LengthMasks(writer, f"{layer.name}.lengths", layer.x, layer.lengths).valid()
        zero = writer.constant(np.array(0, np.float32), f"{layer.name}.zero")
        inputs[X] = writer.op("Where", [valid, layer.x, zero], f"{layer.name}.valid_x")
    for position, letter in ((W, "W"), (R, "R")):
        rows = [direction.w if letter == "W" else direction.r for direction in layer.directions]
        inputs[position], *scale = _quantized(writer, rows, f"{layer.name}.{letter}")
        inputs += scale
    attributes = [attribute for attribute in node.attributes.values() if attribute.name != "layout"]
    names = [f"{layer.name}.quantized_{name}" for name in ("Y", "Y_h", "Y_c")]
    new = writer.node(f"{MICROSOFT}::DynamicQuantizeLSTM", inputs, names, attributes)
    pairs = [(old, new[index]) for index, old in enumerate(layer.outputs) if old is not None]
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], [], [old for old, _ in pairs], [after for _, after in pairs]
    )
    remove_unused(weights)


def _quantized(writer: GraphWriter, weights: list[Array], name: str) -> list[ir.Value]:
    """Weights [D, K, 4H], scales and zero points [D, 4H]."""
    quantized = [quantize(rows, 8, rows.shape[1]) for rows in weights]
    codes = np.stack([each.codes[:, 0].T for each in quantized])
    scales = np.stack([each.scales[:, 0] for each in quantized])
    return [
        writer.constant(codes, f"{name}.codes"),
        writer.constant(scales, f"{name}.scales"),
        writer.constant(np.zeros(scales.shape, np.int8), f"{name}.zero_points"),
    ]
