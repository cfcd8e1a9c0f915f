"""The product of a value with constant weights, as nodes: in float32, or with weights of 8 or 4 bits.

1. `float32` is a MatMul.
2. `matmulnbits` is ONNX Runtime's MatMulNBits: blocks of a row share a scale, and the value is quantized by rows, so no
   row of a batch touches another. `accuracy_level=4` computes in int8; without it 8 bits take a path 20 to 60 times
   as slow.
3. `dynamic` is ONNX Runtime's DynamicQuantizeMatMul: one scale for the whole value, all rows of a batch together. The
   scales of the weights' rows stand in a Mul behind it, which for the few rows of a step costs less than inside the
   operator does; for the many rows of a projection, the operator's way is the cheaper one.
4. `dequantize` is DequantizeLinear and MatMul, which every runtime knows; OpenVINO keeps the weights compressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.passes.quantizing.quantization import Array, quantize

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
Kind = Literal["float32", "matmulnbits", "dynamic", "dequantize"]
_SMALLEST_BLOCK = 16
_SMALLEST_SCALE = np.float32(1e-30)
"""So that a bias can be divided by it."""
_INT8_IN_MATMULNBITS = 4
"""`accuracy_level`"""


@dataclass(frozen=True)
class MatmulKernel:
    """How a product with constant weights is written."""

    kind: Kind = "float32"
    bits: Literal[4, 8] = 8
    block_size: int = 64
    """Of `matmulnbits`: a power of two from 16 on."""

    @property
    def quantizes(self) -> bool:
        """Whether the weights become integers."""
        return self.kind != "float32"

    @property
    def mixes_rows(self) -> bool:
        """Whether all rows of a batch share one scale, so that a NaN in one of them reaches all."""
        return self.kind == "dynamic"


FLOAT32 = MatmulKernel()


class WeightMatmul:
    """Writes value · weightsᵀ + bias, as often as wanted; the weights are written once."""

    def __init__(
        self,
        writer: GraphWriter,
        product: MatmulKernel,
        weights: Array,
        bias: Array | None,
        name: str,
        moments: NDArray[np.float64] | None = None,
        *,
        many_rows: bool = False,
    ) -> None:
        """Write the constants.

        Args:
            writer: Writes the constants now and the nodes later.
            product: In which form.
            weights: [N, K]
            bias: [N], or `None`.
            name: What the constants' names begin with.
            moments: See `quantize`.
            many_rows: Whether the value has far more rows than a step; see rule 3.
        """
        self._writer, self._product, self._name = writer, product, name
        self._scales_behind = product.kind == "dynamic" and not many_rows
        self._rows, self._columns = weights.shape
        if product.kind == "dequantize" and bias is None:  # else ONNX Runtime takes the next Add into a slow Gemm
            bias = np.zeros(self._rows, np.float32)
        if product.kind == "float32":
            self._weights = writer.constant(weights.T.copy(), f"{name}.weights")
        elif product.kind == "matmulnbits":
            self._write_blocks(weights, moments)
        else:
            scales = self._write_rows(weights, moments)
            if self._scales_behind and bias is not None:  # it is added before the Mul
                bias = bias / scales
        self._bias = writer.constant(bias, f"{name}.bias") if bias is not None else None

    def times(self, value: ir.Value, name: str) -> ir.Value:
        """Write the product with a value [..., K]; the result [..., N] is called `name`."""
        if self._product.kind == "matmulnbits":
            inputs = [value, self._weights, self._scales, None, None, self._bias]
            return self._writer.op(
                f"{MICROSOFT}::MatMulNBits",
                inputs if self._bias is not None else inputs[:3],
                name,
                K=self._columns,
                N=self._rows,
                bits=self._product.bits,
                block_size=self._block_size,
                accuracy_level=_INT8_IN_MATMULNBITS,
            )
        if self._product.kind == "dynamic":
            inputs = [value, self._weights, self._one if self._scales_behind else self._scales, None, self._bias]
            product = self._writer.op(
                f"{MICROSOFT}::DynamicQuantizeMatMul",
                inputs if self._bias is not None else inputs[:3],
                f"{name}_unscaled" if self._scales_behind else name,
            )
            return self._writer.op("Mul", [product, self._scales], name) if self._scales_behind else product
        if self._bias is None:
            return self._writer.op("MatMul", [value, self._weights], name)
        return self._writer.op(
            "Add", [self._writer.op("MatMul", [value, self._weights], f"{name}_only"), self._bias], name
        )

    def _write_blocks(self, weights: Array, moments: NDArray[np.float64] | None) -> None:
        bits = self._product.bits
        self._block_size = min(self._product.block_size, max(_SMALLEST_BLOCK, 1 << (self._columns - 1).bit_length()))
        quantized = quantize(weights, bits, self._block_size, moments)
        codes = (quantized.codes.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
        if bits == 4:  # two to a byte, the first one in the low half
            codes = codes[:, :, 0::2] | codes[:, :, 1::2] << 4
        self._weights = self._writer.constant(codes, f"{self._name}.weights")
        self._scales = self._writer.constant(quantized.scales.reshape(-1), f"{self._name}.scales")

    def _write_rows(self, weights: Array, moments: NDArray[np.float64] | None) -> Array:
        """Write the constants, and return the rows' scales [N]."""
        quantized = quantize(weights, 8, self._columns, moments)
        scales = np.maximum(quantized.scales[:, 0], _SMALLEST_SCALE)
        self._weights = self._writer.constant(quantized.codes[:, 0].T.copy(), f"{self._name}.weights")
        self._scales = self._writer.constant(scales, f"{self._name}.scales")
        if self._scales_behind:
            self._one = self._writer.constant(np.array(1, np.float32), f"{self._name}.one")
        elif self._product.kind == "dequantize":
            zero_points = self._writer.constant(np.zeros(self._rows, np.int8), f"{self._name}.zero_points")
            inputs = [self._weights, self._scales, zero_points]
            self._weights = self._writer.op("DequantizeLinear", inputs, f"{self._name}.dequantized", axis=1)
        return scales
