"""X·Wᵀ + b of a layer, for all steps and directions at once.

1. It is one product, cut into the parts that a step wants; where the candidate stays float32, each part is its own.
2. Where all rows of a batch share one scale, see `products.py`, what is not finite in X, as padding may leave it,
   counts as 0: otherwise one row's padding would reach every other row.
3. Columns of W whose weights are very large, such as those of `padding_mask.py`, stay out of a quantized product: they
   would take the whole scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.passes.quantizing.outlier_columns import outlier_columns
from rnnexport.passes.recognising.recurrent import Array, Layer
from rnnexport.passes.writing.cell_steps import projection_sizes
from rnnexport.passes.writing.matmul_kernels import FLOAT32, MatmulKernel, WeightMatmul

_SMALLEST_ROW = 1e-30
"""So that a row of zeros can be divided by its largest element."""


class Projection:
    """Writes the product of one layer's X with W."""

    def __init__(
        self,
        writer: GraphWriter,
        layer: Layer,
        product: MatmulKernel,
        moments: NDArray[np.float64] | None,
        *,
        float32_candidate: bool,
        rows_meet_later: bool,
        many_rows: bool,
    ) -> None:
        """Take how it is written.

        Args:
            writer: Of the layer's graph.
            layer: The layer.
            product: The form.
            moments: Of X, see `quantize`.
            float32_candidate: Whether the rows of the candidate (an LSTM's c, a GRU's h) stay float32.
            rows_meet_later: Whether rows of a batch share a scale in the product with R.
            many_rows: Whether X has far more rows than a step.
        """
        self._writer, self._layer, self._product, self._moments = writer, layer, product, moments
        self._float32_candidate, self._rows_meet_later = float32_candidate, rows_meet_later
        self._many_rows = many_rows
        self._name = f"{layer.name}.projected"

    def parts(self) -> Sequence[ir.Value]:
        """[T, B, ·] each: for every direction those of `projection_sizes`."""
        layer, name = self._layer, self._name
        w = np.concatenate([direction.w for direction in layer.directions])
        bias = np.concatenate([direction.input_bias for direction in layer.directions])
        sizes = projection_sizes(layer, float32_candidate=self._float32_candidate) * len(layer.directions)
        x = self._finite_x() if self._rows_meet_later and not self._scales_all_rows(w) else layer.x
        if self._float32_candidate:
            products = [self._product, FLOAT32] * len(layer.directions)
            rows = np.split(np.arange(len(w)), np.cumsum(sizes)[:-1])
            return [
                self._times_w(x, w[those], bias[those], product, f"{name}_{i}")
                for i, (those, product) in enumerate(zip(rows, products, strict=True))
            ]
        projected = self._times_w(x, w, bias, self._product, name)
        if len(sizes) == 1:
            return [projected]
        return self._writer.split(projected, sizes, 2, [f"{name}_{i}" for i in range(len(sizes))])

    def _scales_all_rows(self, w: Array) -> bool:
        """Whether every part of X passes `_scaled_rows`, which makes it finite."""
        return self._product.mixes_rows and not self._float32_candidate and not len(outlier_columns(w))

    def _times_w(self, x: ir.Value, w: Array, bias: Array, product: MatmulKernel, name: str) -> ir.Value:
        writer = self._writer
        large = outlier_columns(w) if product.quantizes else np.array([], np.int64)
        if not len(large):
            return self._times_similar(x, w, bias, product, name)
        columns = writer.constant(large, f"{name}_large_columns")
        x_large = writer.op("Gather", [x, columns], f"{name}_x_large", axis=2)
        large_product = WeightMatmul(writer, FLOAT32, w[:, large], None, f"{name}_W_large")
        w = np.where(np.isin(np.arange(w.shape[1]), large), 0, w).astype(np.float32)
        small = self._times_similar(x, w, bias, product, f"{name}_small")
        return writer.op("Add", [small, large_product.times(x_large, f"{name}_large")], name)

    def _times_similar(self, x: ir.Value, w: Array, bias: Array, product: MatmulKernel, name: str) -> ir.Value:
        """As `_times_w`, for columns of like size; where all rows would share one scale, each is brought to its own."""
        writer, moments = self._writer, self._moments
        inside = None if product.mixes_rows else bias
        weights = WeightMatmul(writer, product, w, inside, f"{name}_W", moments, many_rows=self._many_rows)
        if not product.mixes_rows:
            return weights.times(x, name)
        scaled, scale = self._scaled_rows(x, name)
        rows = weights.times(scaled, f"{name}_rows")
        b = writer.constant(bias, f"{name}_W.bias")
        return writer.op("Add", [writer.op("Mul", [rows, scale], f"{name}_only"), b], name)

    def _scaled_rows(self, x: ir.Value, name: str) -> tuple[ir.Value, ir.Value]:
        """X with rows of -1 … 1, and their scales; both are 0 for what is not finite.

        ThresholdedRelu makes 0 of NaN in a quarter of the time that Where takes.
        """
        writer, name = self._writer, f"{name}_x"
        zero, infinity, smallest = (
            writer.constant(np.array(number, np.float32), f"{name}_{word}")
            for number, word in ((0, "zero"), (np.inf, "infinity"), (_SMALLEST_ROW, "smallest"))
        )
        largest = writer.reduce_max(writer.op("Abs", [x], f"{name}_abs"), 2, f"{name}_largest")
        is_finite = writer.op("Less", [largest, infinity], f"{name}_is_finite")
        at_least = writer.op("Max", [largest, smallest], f"{name}_at_least")
        divisor = writer.op("Where", [is_finite, at_least, infinity], f"{name}_divisor")
        divided = writer.op("Div", [x, divisor], f"{name}_divided")
        scaled = writer.op("ThresholdedRelu", [divided], f"{name}_scaled", alpha=-2.0)
        return scaled, writer.op("Where", [is_finite, largest, zero], f"{name}_scale")

    def _finite_x(self) -> ir.Value:
        writer, name, x = self._writer, f"{self._layer.name}.x", self._layer.x
        infinity = writer.constant(np.array(np.inf, np.float32), f"{name}_infinity")
        zero = writer.constant(np.array(0, np.float32), f"{name}_zero")
        is_finite = writer.op("Less", [writer.op("Abs", [x], f"{name}_size"), infinity], f"{name}_is_finite")
        return writer.op("Where", [is_finite, x, zero], f"{name}_finite")
