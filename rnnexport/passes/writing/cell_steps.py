"""One step of an LSTM or GRU as nodes, as few as there can be: one Sigmoid for all gates that have one.

`StepWriter` takes X·Wᵀ + b, written for all steps at once. `JointStep` takes x itself and multiplies x and h in one
product, for graphs of a single step, in which there are no other steps to share a product with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.passes.quantizing.outlier_columns import outlier_columns
from rnnexport.passes.recognising.recurrent import Array, Direction, Layer
from rnnexport.passes.writing.matmul_kernels import FLOAT32, MatmulKernel, WeightMatmul

_OPEN, _CANDIDATE = "R_open", "R_candidate"
"""Rows of R: of the gates that a Sigmoid opens, and of the candidate for the new state."""
_LARGEST_JOINT_GRU = 384
"""Hidden size; above it, the zeros that stand in a GRU's joint product cost more than a second product does."""


def projection_sizes(layer: Layer, *, float32_candidate: bool) -> list[int]:
    """The parts into which a step wants X·Wᵀ + b, of G·H columns, to be cut."""
    size = layer.hidden_size
    if layer.cell == "LSTM":
        return [3 * size, size] if float32_candidate else [4 * size]
    return [2 * size, size]


class StepWriter:
    """Writes steps of one direction of a layer; the weights are written once."""

    def __init__(
        self,
        writer: GraphWriter,
        layer: Layer,
        direction: Direction,
        product: MatmulKernel,
        moments: NDArray[np.float64] | None,
        *,
        float32_candidate: bool = False,
    ) -> None:
        """Take the form of the product with R.

        Args:
            writer: Of the graph or body.
            layer: The layer.
            direction: One of its directions.
            product: The form.
            moments: Of what the product takes, see `quantize`.
            float32_candidate: Whether the rows of the candidate (an LSTM's c, a GRU's h) stay float32.
        """
        self._writer, self._layer, self._float32_candidate = writer, layer, float32_candidate
        self._prefix = ""
        self._products = {
            name: WeightMatmul(
                writer,
                FLOAT32 if float32_candidate and name == _CANDIDATE else product,
                rows,
                bias,
                f"{direction.name}.{name}",
                moments,
            )
            for name, (rows, bias) in self._weights(direction).items()
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

    def _weights(self, direction: Direction) -> dict[str, tuple[Array, Array | None]]:
        """Rows and bias of each product, by name."""
        size, r, bias = self._layer.hidden_size, direction.r, direction.recurrent_bias
        if self._float32_candidate or (self._layer.cell == "GRU" and not self._layer.reset_after):
            return {_OPEN: (r[:-size], None), _CANDIDATE: (r[-size:], bias)}
        inside = np.concatenate([np.zeros(2 * size, np.float32), bias]) if bias is not None else None
        return {"R_all": (r, inside)}

    def _lstm(self, x: Sequence[ir.Value], states: Sequence[ir.Value]) -> list[ir.Value]:
        h, c = states
        size = self._layer.hidden_size
        iof, candidate = self._lstm_gates(x, h)
        i, o, f = self._split(self._op("Sigmoid", [iof], "open"), [size] * 3, "i", "o", "f")
        forgotten = self._op("Mul", [f, c], "forgotten")
        added = self._op("Mul", [i, self._op("Tanh", [candidate], "g")], "added")
        c_next = self._op("Add", [forgotten, added], "c")
        return [self._op("Mul", [o, self._op("Tanh", [c_next], "tanh_c")], "h"), c_next]

    def _gru(self, x: Sequence[ir.Value], states: Sequence[ir.Value]) -> list[ir.Value]:
        (h,) = states
        gates, x_h, recurrent_h = self._gru_gates(x, h)
        z, r = self._split(self._op("Sigmoid", [gates], "open"), [self._layer.hidden_size] * 2, "z", "r")
        if recurrent_h is not None:
            inner = self._op("Mul", [r, recurrent_h], "reset_h")
        else:
            inner = self._times_r(_CANDIDATE, self._op("Mul", [r, h], "reset_h"))
        n = self._op("Tanh", [self._op("Add", [x_h, inner], "candidate")], "n")
        kept = self._op("Mul", [z, self._op("Sub", [h, n], "difference")], "kept")
        return [self._op("Add", [n, kept], "h")]

    def _lstm_gates(self, x: Sequence[ir.Value], h: ir.Value) -> Sequence[ir.Value]:
        """What the gates i, o, f take, and what the candidate takes."""
        if self._float32_candidate:
            names = ((_OPEN, "iof"), (_CANDIDATE, "candidate"))
            return [self._op("Add", [x[n], self._times_r(rows, h)], name) for n, (rows, name) in enumerate(names)]
        return self._split_lstm(self._op("Add", [x[0], self._times_r("R_all", h)], "gates"))

    def _split_lstm(self, gates: ir.Value) -> Sequence[ir.Value]:
        size = self._layer.hidden_size
        return self._split(gates, [3 * size, size], "iof", "candidate")

    def _gru_gates(self, x: Sequence[ir.Value], h: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value | None]:
        """What the gates z and r take; what x and, where it is reset after its product, h give to the candidate."""
        (x_zr, x_h), size, recurrent_h = x, self._layer.hidden_size, None
        if "R_all" in self._products:
            recurrent = self._times_r("R_all", h)
            recurrent_zr, recurrent_h = self._split(recurrent, [2 * size, size], "recurrent_zr", "recurrent_h")
        else:
            recurrent_zr = self._times_r(_OPEN, h)
            recurrent_h = self._times_r(_CANDIDATE, h) if self._layer.reset_after else None
        return self._op("Add", [x_zr, recurrent_zr], "zr"), x_h, recurrent_h

    def _times_r(self, part: str, h: ir.Value) -> ir.Value:
        return self._products[part].times(h, f"{self._prefix}.h_{part}")

    def _split(self, value: ir.Value, sizes: Sequence[int], *names: str) -> Sequence[ir.Value]:
        return self._writer.split(value, sizes, -1, [f"{self._prefix}.{name}" for name in names])

    def _op(self, op_type: str, inputs: Sequence[ir.Value], name: str) -> ir.Value:
        return self._writer.op(op_type, inputs, f"{self._prefix}.{name}")


class JointStep(StepWriter):
    """Writes a step whose x is no product yet: one product with the weights of both, of x and h side by side.

    In a GRU the candidate wants what x and what h give apart, so rows of the one have zeros for the other.
    """

    @staticmethod
    def pays(layer: Layer, product: MatmulKernel) -> bool:
        """Whether one product is faster than two, and as exact."""
        if product.mixes_rows or (product.quantizes and any(len(outlier_columns(d.w)) for d in layer.directions)):
            return False
        small_gru = layer.reset_after and layer.hidden_size <= _LARGEST_JOINT_GRU and product.quantizes
        return layer.cell == "LSTM" or small_gru

    def _weights(self, direction: Direction) -> dict[str, tuple[Array, Array | None]]:
        size, w, r, bias = self._layer.hidden_size, direction.w, direction.r, direction.input_bias
        if self._layer.cell == "LSTM":
            return {"W_R": (np.concatenate([w, r], axis=1), bias)}
        both = np.concatenate([w[: 2 * size], r[: 2 * size]], axis=1)
        of_x = np.pad(w[2 * size :], [(0, 0), (0, size)])
        of_h = np.pad(r[2 * size :], [(0, 0), (w.shape[1], 0)])
        inside = direction.recurrent_bias if direction.recurrent_bias is not None else np.zeros(size, np.float32)
        return {"W_R": (np.concatenate([both, of_x, of_h]), np.concatenate([bias, inside]))}

    def _lstm_gates(self, x: Sequence[ir.Value], h: ir.Value) -> Sequence[ir.Value]:
        return self._split_lstm(self._times_both(x, h))

    def _gru_gates(self, x: Sequence[ir.Value], h: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value | None]:
        size = self._layer.hidden_size
        zr, x_h, recurrent_h = self._split(self._times_both(x, h), [2 * size, size, size], "zr", "x_h", "recurrent_h")
        return zr, x_h, recurrent_h

    def _times_both(self, x: Sequence[ir.Value], h: ir.Value) -> ir.Value:
        joined = self._writer.op("Concat", [x[0], h], f"{self._prefix}.x_and_h", axis=-1)
        return self._products["W_R"].times(joined, f"{self._prefix}.gates")
