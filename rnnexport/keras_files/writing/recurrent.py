"""Recurrent layers as fused operators, or, where an activation has none, as a Scan.

1. LSTM: Keras's gates i, f, c, o become ONNX's i, o, f, c. GRU: z, r, h are the same; `reset_after` is
   `linear_before_reset`. Keras's one bias is the input's, the recurrent one is 0.
2. Both directions of a like cell become one operator; else there is one for each.
3. An operator takes sigmoid, tanh and relu, which is what every runtime has. A layer with another activation becomes a
   Scan over a written-out cell, which is right everywhere, and slower. So does a masked LSTM that returns its c, unless
   its gates can close.
4. Masks: see `step_masks`; a Scan keeps its states on masked steps by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rnnexport.keras_files.layers.recurrent import Bidirectional, Cell, Recurrent
from rnnexport.keras_files.writing.activations import FUSED
from rnnexport.keras_files.writing.loops import write_loop
from rnnexport.keras_files.writing.nodes import Nodes, gate_rows
from rnnexport.keras_files.writing.step_masks import StepMask

_ONNX_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2), "RNN": (0,)}
_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@dataclass(frozen=True, slots=True)
class _RecurrentRun:
    """What one direction gave, time first and in the order of time."""

    sequence: ir.Value
    """[T, B, units], masked steps in their places."""
    last: ir.Value
    """[B, units]: the output after the last step that was run."""
    states: list[ir.Value]
    """[B, units] each"""


def write_recurrent(
    nodes: Nodes, layer: Recurrent, x: ir.Value, states: Sequence[ir.Value], mask: StepMask | None
) -> list[ir.Value]:
    """Write a layer over x [B, T, I]; returns its outputs as Keras orders them."""
    run = _run(nodes, layer, _time_first(nodes, layer, x), states, mask)
    return [_output(nodes, layer, run, flipped=layer.go_backwards), *(run.states if layer.return_state else [])]


def write_bidirectional(
    nodes: Nodes, layer: Bidirectional, x: ir.Value, states: Sequence[ir.Value], mask: StepMask | None
) -> list[ir.Value]:
    """Write two layers over x [B, T, I]; returns their outputs as Keras orders them."""
    x = _time_first(nodes, layer.forward, x)
    half = layer.forward.states
    if _is_one_operator(layer, masked=mask is not None):
        if layer.merge_mode == "concat" and not layer.forward.return_state and layer.forward.return_sequences:
            return [_joined(nodes, layer, x, states, mask)]
        runs = _both(nodes, layer, x, states, mask)
    else:
        runs = [
            _run(nodes.called(name), each, x, own, mask)
            for name, each, own in (
                ("forward", layer.forward, states[:half]),
                ("backward", layer.backward, states[half:]),
            )
        ]
    first = _output(nodes, layer.forward, runs[0], flipped=layer.forward.go_backwards)
    # Keras turns what the second layer gives.
    second = _output(nodes, layer.backward, runs[1], flipped=not layer.backward.go_backwards)
    last = [*runs[0].states, *runs[1].states] if layer.forward.return_state else []
    match layer.merge_mode:
        case "concat":
            return [nodes.op("Concat", first, second, axis=-1), *last]
        case "sum":
            return [nodes.op("Add", first, second), *last]
        case "ave":
            return [nodes.op("Mul", nodes.op("Add", first, second), nodes.floats(0.5, "half")), *last]
        case "mul":
            return [nodes.op("Mul", first, second), *last]
    return [first, second, *last]


def _output(nodes: Nodes, layer: Recurrent, run: _RecurrentRun, *, flipped: bool) -> ir.Value:
    """[B, T, units] or [B, units]."""
    if not layer.return_sequences:
        return run.last
    return _time_first(nodes, layer, nodes.reversed(run.sequence, 0) if flipped else run.sequence)


def _time_first(nodes: Nodes, layer: Recurrent, x: ir.Value) -> ir.Value:
    """[T, B, features] of what the layer takes or gives, and the other way round."""
    return x if layer.time_major else nodes.transpose(x, (1, 0, 2))


def _is_fused(cell: Cell) -> bool:
    return cell.activation.name in FUSED and (cell.kind == "RNN" or cell.recurrent_activation.name in FUSED)


def _loses_c(layer: Recurrent, cell: Cell) -> bool:
    """Whether a fused operator would go on changing a c that is returned on the padding behind a row's last step."""
    closes = cell.recurrent_activation.name == "sigmoid" and cell.activation.name != "relu"
    return cell.kind == "LSTM" and layer.return_state and not closes


def _is_one_operator(layer: Bidirectional, *, masked: bool) -> bool:
    first, second = layer.forward, layer.backward
    if first.go_backwards or len(first.cells) != 1 or len(second.cells) != 1:
        return False
    a, b = first.cells[0], second.cells[0]
    same = all(
        getattr(a, name) == getattr(b, name)
        for name in ("kind", "units", "activation", "recurrent_activation", "reset_after")
    )
    if masked and _loses_c(first, a):
        return False
    return same and _is_fused(a) and (a.bias is None) == (b.bias is None)


def _run(
    nodes: Nodes, layer: Recurrent, x: ir.Value, states: Sequence[ir.Value], mask: StepMask | None
) -> _RecurrentRun:
    """Run one direction over x [T, B, I]."""
    if not all(_is_fused(cell) and not (mask and _loses_c(layer, cell)) for cell in layer.cells):
        counts = mask.counts if mask else None
        sequence, last = write_loop(nodes, layer, x, states, counts)
        return _RecurrentRun(sequence, nodes.pick(sequence, 0 if layer.go_backwards else -1, 0), last)
    cells = layer.cells
    if mask is not None:
        x = mask.to_front(x, cells[0].kernel.shape[0])
    last_states: list[ir.Value] = []
    for number, cell in enumerate(cells):
        own = nodes if len(cells) == 1 else nodes.called(f"cell_{number}")
        given = states[len(last_states) : len(last_states) + cell.states]
        y, *last = _operator(own, [cell], x, given, mask, "reverse" if layer.go_backwards else "forward")
        x = own.squeeze(y, 1)
        last_states += [own.squeeze(each, 0) for each in last]
    output = last_states[len(last_states) - cells[-1].states]
    if mask is not None:
        repeat = not layer.zero_output_for_mask
        if layer.return_sequences:
            x = mask.back(nodes, x, cells[-1].units, backwards=layer.go_backwards, repeat=repeat)
        else:
            output = _last_output(nodes, layer, output, mask, has_states=bool(states))
    return _RecurrentRun(x, output, last_states)


def _last_output(nodes: Nodes, layer: Recurrent, output: ir.Value, mask: StepMask, *, has_states: bool) -> ir.Value:
    """The last state is the output, but where the last step is masked to 0, or no step counts at all."""
    if layer.zero_output_for_mask:
        counts = mask.counts_at(0 if layer.go_backwards else -1)
    elif has_states:
        counts = mask.any_counts()
    else:
        return output
    return nodes.op("Where", counts, output, nodes.floats(0.0, "no_output"))


def _both(
    nodes: Nodes, layer: Bidirectional, x: ir.Value, states: Sequence[ir.Value], mask: StepMask | None
) -> list[_RecurrentRun]:
    """Both directions by one operator."""
    y, *last = _two_directions(nodes, layer, x, states, mask)
    runs = []
    for number, each in enumerate((layer.forward, layer.backward)):
        units, own_states = each.cells[0].units, [nodes.pick(state, number, 0) for state in last]
        sequence, output = nodes.pick(y, number, 1), own_states[0]
        if mask is not None:
            if each.return_sequences:
                sequence = mask.back(nodes, sequence, units, backwards=each.go_backwards, repeat=False)
            else:
                output = _last_output(nodes, each, output, mask, has_states=bool(states))
        runs.append(_RecurrentRun(sequence, output, own_states))
    return runs


def _joined(
    nodes: Nodes, layer: Bidirectional, x: ir.Value, states: Sequence[ir.Value], mask: StepMask | None
) -> ir.Value:
    """[B, T, 2·units] of both directions side by side."""
    y = _two_directions(nodes, layer, x, states, mask)[0]
    units = 2 * layer.forward.cells[0].units
    sequence = nodes.reshape(nodes.transpose(y, (0, 2, 1, 3)), (0, 0, units))
    if mask is not None:
        sequence = mask.back(nodes, sequence, units, backwards=False, repeat=False)
    return _time_first(nodes, layer.forward, sequence)


def _two_directions(
    nodes: Nodes, layer: Bidirectional, x: ir.Value, states: Sequence[ir.Value], mask: StepMask | None
) -> list[ir.Value]:
    forward, backward = layer.forward.cells[0], layer.backward.cells[0]
    if mask is not None:
        x = mask.to_front(x, forward.kernel.shape[0])
    return _operator(nodes, [forward, backward], x, states, mask, "bidirectional")


def _operator(
    nodes: Nodes,
    cells: Sequence[Cell],
    x: ir.Value,
    states: Sequence[ir.Value],
    mask: StepMask | None,
    direction: str,
) -> list[ir.Value]:
    """Write the operator: Y [T, D, B, H], Y_h and, for an LSTM, Y_c [D, B, H]; states are [B, H], by direction."""
    cell = cells[0]
    initial = [_stacked(nodes, states[number :: cell.states]) for number in range(cell.states)] if states else []
    inputs = [x, *_weights(nodes, cells), mask.lengths if mask else None, *initial]
    while inputs[-1] is None:
        inputs.pop()
    attributes: dict[str, int | str | list[str]] = {"hidden_size": cell.units, "direction": direction}
    gates = [] if cell.kind == "RNN" else [FUSED[cell.recurrent_activation.name]]
    activations = [*gates, *[FUSED[cell.activation.name]] * (2 if cell.kind == "LSTM" else 1)]
    if activations != _DEFAULTS[cell.kind]:
        attributes["activations"] = activations * len(cells)
    if cell.kind == "GRU":
        attributes["linear_before_reset"] = int(cell.reset_after)
    names = [f"{nodes.name}.{name}" for name in ("Y", "Y_h", "Y_c")[: 1 + cell.states]]
    return [*nodes.writer.node(cell.kind, inputs, names, ir.convenience.convert_attributes(attributes))]


def _stacked(nodes: Nodes, states: Sequence[ir.Value]) -> ir.Value:
    """[D, B, H] of [B, H] for each direction."""
    wide = [nodes.unsqueeze(state, 0) for state in states]
    return wide[0] if len(wide) == 1 else nodes.op("Concat", *wide, axis=0)


def _weights(nodes: Nodes, cells: Sequence[Cell]) -> list[ir.Value | None]:
    """W [D, G·H, I], R [D, G·H, H] and B [D, 2·G·H], or no B for a layer without bias."""
    order = _ONNX_GATES[cells[0].kind]
    w = np.stack([gate_rows(cell.kernel.value, order) for cell in cells])
    r = np.stack([gate_rows(cell.recurrent_kernel.value, order) for cell in cells])
    biases = []
    for cell in cells:
        if cell.bias is not None:
            given = cell.bias.value if cell.reset_after else np.stack([cell.bias.value, np.zeros_like(cell.bias.value)])
            biases.append(np.concatenate([gate_rows(half, order) for half in given]))
    return [nodes.floats(w, "W"), nodes.floats(r, "R"), nodes.floats(np.stack(biases), "B") if biases else None]
