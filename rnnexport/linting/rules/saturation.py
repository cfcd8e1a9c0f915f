"""Products of 8 bits that overflow on some CPUs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import constant_tensor, node_name, optional_input
from rnnexport.onnx_files.operators import QUANTIZED_LSTM

_WEIGHTS = {
    "DynamicQuantizeMatMul": (1,),
    "MatMulInteger": (1,),
    "MatMulIntegerToFloat": (1,),
    "QAttention": (1,),
    "QGemm": (3,),
    "QLinearConv": (3,),
    "QLinearMatMul": (3,),
    QUANTIZED_LSTM: (1, 2),
}
"""Operators that multiply activations of 8 bits, their first input, and their inputs that are weights."""
_DEQUANTIZED = ("Conv", "Gemm", "MatMul")
"""Operators that become such in ONNX Runtime where both operands are dequantized; Conv, where its output is rounded."""
_LARGEST_SAFE = 64
"""Two products of 255 with it fit into the 16 bits of `vpmaddubsw`: 2 · 255 · 64 = 32,640."""


class Saturates(Rule):
    """Unsigned activations times signed weights, both of 8 bits.

    The AVX2 and AVX-512 instruction `vpmaddubsw` adds two such products in 16 bits, where the sum of two large ones
    does not fit: it is cut. CPUs with VNNI add in 32 bits.

    Example:
        y = MatMulInteger(x: uint8[batch, 256], W: int8[256, 1024])
    """

    name = "saturates"
    severity = "warning"
    title = "a product of 8 bits can overflow on x86 CPUs without VNNI"
    consequences = {
        "ONNX Runtime": "errors 10 to 20 times as large on such CPUs; the option session.x64quantprecision=1, which "
        "rnnexport sets there, mends all but DynamicQuantizeLSTM"
    }

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look for constant weights of more than 7 bits; those within ±64 never overflow."""
        for node in checked.model.graph.all_nodes():
            largest = max((_largest(value) for value in _weights(node)), default=0)
            if largest > _LARGEST_SAFE:
                yield node_name(node), f"{node.op_type} has int8 weights up to {largest}"


def _weights(node: ir.Node) -> list[ir.Value | None]:
    """What a product of 8 bits takes for weights; nothing where the activations are signed."""
    if node.op_type in _DEQUANTIZED:
        operands = [_dequantized(optional_input(node, position)) for position in (0, 1)]
        signed = operands[0] is None or operands[0].dtype != ir.DataType.UINT8
        quantized = node.op_type != "Conv" or any(
            user.op_type == "QuantizeLinear" for user in node.outputs[0].consumers()
        )
        return [] if signed or not quantized else [operands[1]]
    x = optional_input(node, 0)
    if x is not None and x.dtype == ir.DataType.INT8:
        return []
    return [optional_input(node, position) for position in _WEIGHTS.get(node.op_type, ())]


def _dequantized(value: ir.Value | None) -> ir.Value | None:
    """What a DequantizeLinear makes a value of."""
    node = value.producer() if value is not None else None
    return node.inputs[0] if node is not None and node.op_type == "DequantizeLinear" else None


def _largest(value: ir.Value | None) -> int:
    """Of constant weights of signed 8 bits."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.INT8:
        return 0
    return int(np.abs(tensor.numpy().astype(np.int16)).max(initial=0))
