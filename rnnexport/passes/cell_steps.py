"""One step of an LSTM or GRU as nodes, as few as there can be: one Sigmoid for all gates that have one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.passes.products import Product, WeightProduct
from rnnexport.passes.recurrent import Array, Direction, Layer
from rnnexport.passes.writer import GraphWriter


def projection_sizes(layer: Layer) -> list[int]:
    """The parts into which a step wants X·Wᵀ + b, of G·H columns, to be cut."""
    return [4 * layer.hidden_size] if layer.cell == "LSTM" else [2 * layer.hidden_size, layer.hidden_size]


class CellStep:
    """Writes steps of one direction of a layer; the weights are written once."""

    def __init__(
        self,
        writer: GraphWriter,
        layer: Layer,
        direction: Direction,
        product: Product,
        moments: NDArray[np.float64] | None,
    ) -> None:
        """Take the form of the recurrent product, and the second moments of h, see `quantize`."""
        self._writer, self._layer = writer, layer
        self._prefix = ""
        size, r = layer.hidden_size, direction.r
        bias = direction.recurrent_bias
        if layer.cell == "GRU" and not layer.reset_after:
            parts: dict[str, tuple[Array, Array | None]] = {"zr": (r[: 2 * size], None), "h": (r[2 * size :], None)}
        else:
            inside = np.concatenate([np.zeros(2 * size, np.float32), bias]) if bias is not None else None
            parts = {"all": (r, inside)}
        self._products = {
            name: WeightProduct(writer, product, rows, inside, f"{direction.name}.R_{name}", moments)
            for name, (rows, inside) in parts.items()
        }

    def write(
        self, x: Sequence[ir.Value], states: Sequence[ir.Value], valid: ir.Value | None, prefix: str
    ) -> tuple[list[ir.Value], ir.Value]:
        """Write one step.

        Args:
            x: This step's X·Wᵀ + b [..., B, ·] in the parts of `projection_sizes`.
            states: h and, for an LSTM, c [..., B, H].
            valid: [..., B, 1], bool: which rows count; `None`: all of them.
            prefix: What the new names begin with.

        Returns:
            The new states, and this step's Y.
        """
        self._prefix = prefix
        new = self._lstm(x, states) if self._layer.cell == "LSTM" else self._gru(x, states)
        if valid is None:
            return new, new[0]
        kept = [
            self._op("Where", [valid, after, before], f"kept_{letter}")
            for letter, after, before in zip("hc", new, states, strict=False)
        ]
        zero = self._writer.constant(np.array(0, np.float32), f"{prefix}.zero")
        return kept, self._op("Where", [valid, new[0], zero], "valid_y")

    def _lstm(self, x: Sequence[ir.Value], states: Sequence[ir.Value]) -> list[ir.Value]:
        h, c = states
        size = self._layer.hidden_size
        gates = self._op("Add", [x[0], self._times_r("all", h)], "gates")
        iof, candidate = self._split(gates, [3 * size, size], "iof", "candidate")
        i, o, f = self._split(self._op("Sigmoid", [iof], "open"), [size] * 3, "i", "o", "f")
        forgotten = self._op("Mul", [f, c], "forgotten")
        added = self._op("Mul", [i, self._op("Tanh", [candidate], "g")], "added")
        c_next = self._op("Add", [forgotten, added], "c")
        return [self._op("Mul", [o, self._op("Tanh", [c_next], "tanh_c")], "h"), c_next]

    def _gru(self, x: Sequence[ir.Value], states: Sequence[ir.Value]) -> list[ir.Value]:
        (h,), (x_zr, x_h), size = states, x, self._layer.hidden_size
        if self._layer.reset_after:
            recurrent = self._times_r("all", h)
            recurrent_zr, recurrent_h = self._split(recurrent, [2 * size, size], "recurrent_zr", "recurrent_h")
        else:
            recurrent_zr = self._times_r("zr", h)
        zr = self._op("Sigmoid", [self._op("Add", [x_zr, recurrent_zr], "zr")], "open")
        z, r = self._split(zr, [size] * 2, "z", "r")
        if self._layer.reset_after:
            inner = self._op("Mul", [r, recurrent_h], "reset_h")
        else:
            inner = self._times_r("h", self._op("Mul", [r, h], "reset_h"))
        n = self._op("Tanh", [self._op("Add", [x_h, inner], "candidate")], "n")
        kept = self._op("Mul", [z, self._op("Sub", [h, n], "difference")], "kept")
        return [self._op("Add", [n, kept], "h")]

    def _times_r(self, part: str, h: ir.Value) -> ir.Value:
        return self._products[part].times(h, f"{self._prefix}.h_R_{part}")

    def _split(self, value: ir.Value, sizes: Sequence[int], *names: str) -> Sequence[ir.Value]:
        return self._writer.split(value, sizes, -1, [f"{self._prefix}.{name}" for name in names])

    def _op(self, op_type: str, inputs: Sequence[ir.Value], name: str) -> ir.Value:
        return self._writer.op(op_type, inputs, f"{self._prefix}.{name}")
