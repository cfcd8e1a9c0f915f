"""The operator `rnnexport::RecurrentStack` in float64: the layers of ONNX's operators, one above the other.

Source: kernels/README.md, version 1. Nothing here is shared with the pass that writes the node. The weights are those
that integers and scales stand for.

Where they meet weights of 8 or 4 bits, the operator rounds activations. The reference does not: it would jump where a
number lies between two, and the last bit of float32 then decides. So that rounding is part of a runtime's error, and
`rounded_stack` tells how large it may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import InputError, NoReferenceError
from rnnexport.onnx_files.operators import GATES, STACK
from rnnexport.parity.activations import Float64
from rnnexport.parity.recurrent_operators import EXACT, Arithmetic, evaluate

VERSION = 1
_INPUTS, _INITIAL_H = 7, 5
_CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
_NEGLIGIBLE = 2.0**-100
"""A vector that holds nothing larger is rounded to 0."""
_ROUNDED_BITS = 8
"""Weights of no more than these meet rounded activations."""
_ACTIVATION_AXES = 2
"""[B, columns]; weights have three axes."""


def evaluate_stack(
    inputs: Sequence[Any],
    attributes: Mapping[str, Any],
    recurrent: Callable[..., tuple[Float64, ...]] = evaluate,
) -> tuple[Float64, ...]:
    """Compute Y [T, B, D·H] (with `layout=1` [B, T, D·H]), Y_h [L·D, B, H] and, of an LSTM, Y_c [L·D, B, H].

    Args:
        inputs: X, weights, scales, B, sequence_lens, initial_h, initial_c, in this order; `None` for those left out.
        attributes: The node's.
        recurrent: Computes one layer; takes what `operators.evaluate` takes.

    Raises:
        NoReferenceError: The node follows a newer version of the description.
        InputError: Weights or scales do not fit the attributes.
    """
    if (version := attributes.get("version", VERSION)) != VERSION:
        raise NoReferenceError(f"{STACK} of version {version}")
    given: list[Any] = [*inputs, *[None] * (_INPUTS - len(inputs))]
    (x, weights, scales, b, lengths), initial = given[:_INITIAL_H], given[_INITIAL_H:]
    op_type, direction = _CELLS[attributes["cell"]], attributes.get("direction", "forward")
    directions = 1 + (direction == "bidirectional")
    options: dict[str, Any] = {"direction": direction}
    if op_type == "GRU":
        options["linear_before_reset"] = attributes.get("linear_before_reset", 0)
    if op_type == "RNN":
        options["activations"] = [attributes["cell"].removeprefix("rnn_").title()] * directions
    states = initial if op_type == "LSTM" else initial[:1]
    final: list[list[Float64]] = [[] for _ in states]
    x = _time_first(x, attributes)
    for layer, (w, r) in enumerate(_weights(weights, scales, attributes, op_type, directions)):
        rows = slice(layer * directions, (layer + 1) * directions)
        own_b, *own_states = (None if array is None else array[rows] for array in (b, *states))
        y, *after = recurrent(op_type, [x, w, r, own_b, lengths, *own_states], **options)
        x = y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1)
        for kept, state in zip(final, after, strict=True):
            kept.append(state)
    return (_time_first(x, attributes), *(np.concatenate(each) for each in final))


def rounded_stack(
    inputs: Sequence[Any], attributes: Mapping[str, Any], arithmetic: Arithmetic = EXACT
) -> tuple[Float64, ...]:
    """Compute the same with activations rounded; with weights of mixed bits also where they meet those of 32 or 16."""
    if min(attributes["weight_bits"]) > _ROUNDED_BITS:
        return evaluate_stack(inputs, attributes, partial(evaluate, arithmetic=arithmetic))
    levels = 2 ** (attributes.get("activation_bits", 12) - 1) - 1

    def operand(x: Float64) -> Float64:
        x = arithmetic.operand(x)
        return _round_rows(x, levels) if x.ndim == _ACTIVATION_AXES else x

    both = Arithmetic(operand, arithmetic.value)
    return evaluate_stack(inputs, attributes, partial(evaluate, arithmetic=both))


def _round_rows(x: Float64, levels: int) -> Float64:
    """Each row [B, columns] to multiples of its largest over `levels`."""
    largest = np.abs(x).max(axis=1, keepdims=True, initial=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(largest < _NEGLIGIBLE, 0.0, np.rint(x / largest * levels) * (largest / levels))


def _time_first(x: Float64, attributes: Mapping[str, Any]) -> Float64:
    return np.swapaxes(x, 0, 1) if attributes.get("layout", 0) else x


def _weights(
    content: NDArray[np.uint8], scales: Float64 | None, attributes: Mapping[str, Any], op_type: str, directions: int
) -> list[tuple[Float64, Float64]]:
    """W [D, G·H, columns] and R [D, G·H, H] of each layer."""
    hidden_size, gates, given = attributes["hidden_size"], len(GATES[op_type]), attributes["weight_bits"]
    bits = np.reshape(given, (attributes["num_layers"], gates))
    read = _Reader(content, np.zeros(0) if scales is None else scales, attributes.get("block_size", 32))
    layers = []
    for layer, of_gates in enumerate(bits):
        columns = directions * hidden_size if layer else attributes["input_size"]
        matrices: tuple[list[Float64], list[Float64]] = ([], [])
        for _ in range(directions):
            for matrix, width in zip(matrices, (columns, hidden_size), strict=True):
                matrix.append(np.concatenate([read.gate(int(each), hidden_size, width) for each in of_gates]))
        layers.append((np.stack(matrices[0]), np.stack(matrices[1])))
    read.check_end()
    return layers


class _Reader:
    """Takes one gate's rows after another."""

    def __init__(self, content: NDArray[np.uint8], scales: Float64, block_size: int) -> None:
        self._content, self._scales, self._block_size = content, scales, block_size

    def gate(self, bits: int, rows: int, columns: int) -> Float64:
        """The weights [rows, columns] that the next integers and scales stand for."""
        if bits == 32:
            return self._bytes(4 * rows * columns).view("<f4").astype(np.float64).reshape(rows, columns)
        if bits == 16:
            return self._bytes(2 * rows * columns).view("<i2").reshape(rows, columns) * self._row_scales(rows, 1)
        if bits == 8:
            return self._bytes(rows * columns).view("i1").reshape(rows, columns) * self._row_scales(rows, 1)
        halves = self._bytes(rows * -(-columns // 2)).reshape(rows, -1)
        integers = np.stack([halves & 15, halves >> 4], -1).reshape(rows, -1)[:, :columns].astype(np.float64)
        integers[integers > 7] -= 16
        scales = self._row_scales(rows, -(-columns // self._block_size))
        return integers * scales.repeat(self._block_size, axis=1)[:, :columns]

    def check_end(self) -> None:
        """Refuse what nothing reads."""
        if len(self._content) or len(self._scales):
            raise InputError("weights or scales hold more than the attributes take")

    def _bytes(self, count: int) -> NDArray[np.uint8]:
        taken, self._content = self._content[:count], self._content[count:]
        return _whole(taken, count)

    def _row_scales(self, rows: int, of_a_row: int) -> Float64:
        count = rows * of_a_row
        taken, self._scales = self._scales[:count], self._scales[count:]
        return _whole(taken, count).reshape(rows, of_a_row)


def _whole(taken: NDArray[Any], count: int) -> NDArray[Any]:
    if len(taken) != count:
        raise InputError("weights or scales hold less than the attributes take")
    return taken
