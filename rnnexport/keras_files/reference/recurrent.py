"""Recurrent layers, step by step, as Keras defines them.

A masked step keeps the states, and its output is that of the step before in the order of running; zeros before the
first step that counts, or where the layer says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnexport.keras_files.layers.recurrent import Bidirectional, Cell, Recurrent
from rnnexport.keras_files.reference.activations import Array, activate

Mask = NDArray[np.bool_]


def run_recurrent(layer: Recurrent, x: Array, states: list[Array], mask: Mask | None) -> list[Array]:
    """Return the output [batch, (time,) units] and, if the layer gives them, the last states [batch, units]."""
    if layer.time_major:
        output, *last = run_recurrent(
            replace(layer, time_major=False), np.swapaxes(x, 0, 1), states, None if mask is None else mask.T
        )
        return [np.swapaxes(output, 0, 1) if layer.return_sequences else output, *last]
    batch_size, time_steps, _ = x.shape
    if not states:
        states = [np.zeros((batch_size, c.units), x.dtype) for c in layer.cells for _ in range(c.states)]
    order = range(time_steps)[::-1] if layer.go_backwards else range(time_steps)
    outputs = []
    previous = np.zeros((batch_size, layer.cells[-1].units), x.dtype)
    for t in order:
        output, new_states = _step(layer.cells, x[:, t], states)
        if mask is not None:
            counts = mask[:, t, None]
            states = [np.where(counts, new, old) for new, old in zip(new_states, states, strict=True)]
            output = np.where(counts, output, 0 if layer.zero_output_for_mask else previous)
        else:
            states = new_states
        previous = output
        outputs.append(output)
    result = np.stack(outputs, axis=1) if layer.return_sequences else previous
    return [result, *(states if layer.return_state else [])]


def run_bidirectional(layer: Bidirectional, x: Array, states: list[Array], mask: Mask | None) -> list[Array]:
    """Return the merged output, or both, and the last states of the first layer and of the second."""
    half = layer.forward.states
    first, *first_states = run_recurrent(layer.forward, x, states[:half], mask)
    second, *second_states = run_recurrent(layer.backward, x, states[half:], mask)
    if layer.forward.return_sequences:
        second = second[::-1] if layer.backward.time_major else second[:, ::-1]
    last = [*first_states, *second_states]
    match layer.merge_mode:
        case "concat":
            return [np.concatenate([first, second], axis=-1), *last]
        case "sum":
            return [first + second, *last]
        case "ave":
            return [(first + second) / 2, *last]
        case "mul":
            return [first * second, *last]
    return [first, second, *last]


def _step(cells: tuple[Cell, ...], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """One step of cells, each of which reads the one before."""
    new_states: list[Array] = []
    for cell in cells:
        own = states[len(new_states) : len(new_states) + cell.states]
        new = _STEPS[cell.kind](cell, x, *own)
        new_states += new
        x = new[0]
    return x, new_states


def _lstm_step(cell: Cell, x: Array, h: Array, c: Array) -> list[Array]:
    z = x @ _of(cell.kernel.value, x) + h @ _of(cell.recurrent_kernel.value, x)
    if cell.bias is not None:
        z = z + _of(cell.bias.value, x)
    z_i, z_f, z_c, z_o = np.split(z, 4, axis=-1)
    i, f, o = (activate(cell.recurrent_activation, gate) for gate in (z_i, z_f, z_o))
    c = f * c + i * activate(cell.activation, z_c)
    return [o * activate(cell.activation, c), c]


def _gru_step(cell: Cell, x: Array, h: Array) -> list[Array]:
    u = cell.units
    kernel, recurrent = _of(cell.kernel.value, x), _of(cell.recurrent_kernel.value, x)
    bias = np.zeros((2, 3 * u), x.dtype)
    if cell.bias is not None:
        if cell.reset_after:
            bias = _of(cell.bias.value, x)
        else:
            bias[0] = cell.bias.value
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3, axis=-1)
    h_z, h_r = np.split(h @ recurrent[:, : 2 * u] + bias[1, : 2 * u], 2, axis=-1)
    z, r = activate(cell.recurrent_activation, x_z + h_z), activate(cell.recurrent_activation, x_r + h_r)
    h_h = r * (h @ recurrent[:, 2 * u :] + bias[1, 2 * u :]) if cell.reset_after else r * h @ recurrent[:, 2 * u :]
    return [z * h + (1 - z) * activate(cell.activation, x_h + h_h)]


def _simple_step(cell: Cell, x: Array, h: Array) -> list[Array]:
    z = x @ _of(cell.kernel.value, x) + h @ _of(cell.recurrent_kernel.value, x)
    if cell.bias is not None:
        z = z + _of(cell.bias.value, x)
    return [activate(cell.activation, z)]


def _of(weight: Array, x: Array) -> Array:
    return weight.astype(x.dtype, copy=False)


_STEPS: dict[str, Callable[..., list[Array]]] = {"LSTM": _lstm_step, "GRU": _gru_step, "RNN": _simple_step}
