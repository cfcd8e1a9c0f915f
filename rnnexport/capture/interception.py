"""While a module is traced, its recurrent layers appear in the graph as one opaque operator each.

1. `nn.LSTM`, `nn.GRU`, `nn.RNN`, their cells and `ResetBeforeGRU` are caught at their `forward`, so it does not matter
   how the user's code found or subclassed them. PyTorch's own decomposition would unroll them over the traced
   number of steps.
2. The operator states output shapes only. It carries the weights as inputs and the module's path as its name.
3. Everything is put back on leaving, also after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.onnx.ops import symbolic_multi_out

from rnnexport.capture.packed import batch_of
from rnnexport.errors import ExportError
from rnnexport.models.cells import ResetBeforeGRU

DOMAIN = "rnnexport"
"""The ONNX domain of the opaque operators."""


@contextmanager
def recurrent_layers_caught(module: nn.Module, *, catch_cells: bool) -> Iterator[None]:
    """Replace the forward of every recurrent layer class, for as long as the context lasts.

    Args:
        module: Where the layers' paths come from.
        catch_cells: Without it, cells are left to PyTorch, whose own operators show them, and a layer over a single
            step is written as cells, too: in a loop it is one.
    """
    paths = {id(child): path for path, child in module.named_modules()}

    def stack(self: nn.RNNBase, input: Tensor, hx: Any = None) -> Any:  # callers may name the arguments
        if not catch_cells and _is_one_step(self, input):
            return _one_step(self, input, hx)
        return _stack(self, paths.get(id(self), ""), input, hx)

    def cell(self: nn.RNNCellBase, input: Tensor, hx: Any = None) -> Any:
        return _cell(self, paths.get(id(self), ""), input, hx)

    table: list[tuple[type[nn.Module], Callable[..., Any]]] = [
        (nn.LSTM, stack),
        (nn.GRU, stack),
        (ResetBeforeGRU, stack),
        (nn.RNN, stack),
    ]
    if catch_cells:
        table += [(nn.LSTMCell, cell), (nn.GRUCell, cell), (nn.RNNCell, cell)]
    originals = [(kind, kind.forward) for kind, _ in table]
    try:
        for kind, forward in table:
            kind.forward = forward
        yield
    finally:
        for kind, forward in originals:
            kind.forward = forward


def _stack(layer: nn.RNNBase, path: str, x: Tensor | PackedSequence, hx: Any) -> Any:
    """Stand in for the forward of `nn.LSTM`, `nn.GRU` and `nn.RNN`."""
    is_lstm = isinstance(layer, nn.LSTM)
    if isinstance(x, PackedSequence):
        batch = batch_of(x)
        output, *final = _opaque_stack(layer, path, batch.padded, _states(hx, is_lstm), batch.lengths)
        return batch.with_padded(output).packed(), (tuple(final) if is_lstm else final[0])
    is_batched = x.dim() == 3
    batch_axis = 0 if layer.batch_first else 1
    if not is_batched:
        x = x.unsqueeze(batch_axis)
    states = _states(hx, is_lstm)
    if not is_batched:
        states = [state.unsqueeze(1) for state in states]
    layer.check_input(x, None)
    if layer.batch_first:
        x = x.transpose(0, 1)
    output, *final = _opaque_stack(layer, path, x, states)
    if layer.batch_first:
        output = output.transpose(0, 1)
    if not is_batched:
        output, final = output.squeeze(batch_axis), [state.squeeze(1) for state in final]
    return output, (tuple(final) if is_lstm else final[0])


def _is_one_step(layer: nn.RNNBase, x: Any) -> bool:
    if not isinstance(x, Tensor) or x.dim() != 3 or isinstance(layer, ResetBeforeGRU):
        return False
    steps = x.shape[1 if layer.batch_first else 0]
    return type(steps) is int and steps == 1 and not layer.bidirectional and not layer.proj_size


def _one_step(layer: nn.RNNBase, x: Tensor, hx: Any) -> Any:
    """Run a stack over one step with PyTorch's cells."""
    is_lstm = isinstance(layer, nn.LSTM)
    time_axis = 1 if layer.batch_first else 0
    row = x.squeeze(time_axis)
    states = _states(hx, is_lstm)
    if not states:
        states = [x.new_zeros(layer.num_layers, row.shape[0], layer.hidden_size)] * (2 if is_lstm else 1)
    function: Callable[..., Any] = torch.lstm_cell if is_lstm else torch.gru_cell
    if isinstance(layer, nn.RNN):
        function = torch.rnn_relu_cell if layer.nonlinearity == "relu" else torch.rnn_tanh_cell
    kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if layer.bias else [])]
    new = []
    for index in range(layer.num_layers):
        weights = [getattr(layer, f"{kind}_l{index}") for kind in kinds]
        own = [state[index] for state in states]
        new.append(function(row, tuple(own), *weights) if is_lstm else (function(row, own[0], *weights),))
        row = new[-1][0]
    final = [torch.stack(parts) for parts in zip(*new, strict=True)]
    return row.unsqueeze(time_axis), (tuple(final) if is_lstm else final[0])


def _cell(layer: nn.RNNCellBase, path: str, x: Tensor, hx: Any) -> Any:
    """Stand in for the forward of a cell: a layer over one step."""
    is_lstm = isinstance(layer, nn.LSTMCell)
    is_batched = x.dim() == 2
    rows = x if is_batched else x.unsqueeze(0)
    states = [(state if is_batched else state.unsqueeze(0)).unsqueeze(0) for state in _states(hx, is_lstm)]
    weights = [layer.weight_ih, layer.weight_hh, *([layer.bias_ih, layer.bias_hh] if layer.bias else [])]
    kind = "RNN" if isinstance(layer, nn.RNNCell) else "LSTM" if is_lstm else "GRU"
    relu = getattr(layer, "nonlinearity", "") == "relu"
    _, *final = opaque_layer(kind, path, rows.unsqueeze(0), states, weights, relu=relu)
    final = [state.squeeze(0) if is_batched else state.squeeze(0).squeeze(0) for state in final]
    return tuple(final) if is_lstm else final[0]


def opaque_layer(
    cell: str, path: str, x: Tensor, states: list[Tensor], weights: list[Tensor], *, relu: bool = False
) -> list[Tensor]:
    """Put one layer of one direction into the graph.

    Args:
        cell: `LSTM`, `GRU` or `RNN`.
        path: The module's path.
        x: [T, B, I].
        states: h_0 and, for an LSTM, c_0 [1, B, H]; empty for zeros.
        weights: weight_ih, weight_hh and, if there are any, bias_ih, bias_hh.
        relu: Whether an RNN has this in place of tanh.

    Returns:
        The output [T, B, H] and the final states [1, B, H].
    """
    sizes = {"hidden_size": weights[1].shape[1], "num_layers": 1, "num_directions": 1, "bias": int(len(weights) > 2)}
    sizes["relu"] = int(relu)
    return _opaque(cell, path, x, states, None, weights, sizes)


def called_layer(
    cell: str,
    path: str,
    x: Tensor,
    hx: Any,
    weights: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
) -> tuple[Tensor, ...]:
    """Stand in for `torch.lstm`, `torch.gru`, `torch.rnn_tanh` and `torch.rnn_relu` over a padded batch."""
    kind, _, relu = cell.partition(", ")
    per_layer = len(weights) // (num_layers * (1 + bidirectional))
    projects = per_layer > (4 if has_biases else 2)
    sizes = {
        "hidden_size": weights[1].shape[0] // {"LSTM": 4, "GRU": 3, "RNN": 1}[kind],
        "proj_size": weights[per_layer - 1].shape[0] if projects else 0,
        "num_layers": num_layers,
        "num_directions": 1 + bidirectional,
        "bias": int(has_biases),
        "linear_before_reset": 1,
        "relu": int(bool(relu)),
    }
    rows = x.transpose(0, 1) if batch_first else x
    output, *final = _opaque(kind, path, rows, _states(hx, kind == "LSTM"), None, list(weights), sizes)
    return output.transpose(0, 1) if batch_first else output, *final


def _states(hx: Any, is_lstm: bool) -> list[Tensor]:
    if hx is None:
        return []
    return list(hx) if is_lstm else [hx]


def _opaque_stack(layer: nn.RNNBase, path: str, x: Tensor, states: list[Tensor], lengths: Tensor | None = None) -> Any:
    num_directions = 2 if layer.bidirectional else 1
    for state, size in zip(states, (layer.proj_size or layer.hidden_size, layer.hidden_size), strict=False):
        layer.check_hidden_size(state, (layer.num_layers * num_directions, x.shape[1], size))
    weights = [getattr(layer, name) for name in layer._flat_weights_names]
    sizes = {
        "hidden_size": layer.hidden_size,
        "proj_size": layer.proj_size,
        "num_layers": layer.num_layers,
        "num_directions": num_directions,
        "bias": int(layer.bias),
        "linear_before_reset": int(not isinstance(layer, ResetBeforeGRU)),
        "relu": int(getattr(layer, "nonlinearity", "") == "relu"),
    }
    kind = "LSTM" if isinstance(layer, nn.LSTM) else "RNN" if isinstance(layer, nn.RNN) else "GRU"
    return _opaque(kind, path, x, states, lengths, weights, sizes)


def _opaque(
    cell: str,
    path: str,
    x: Tensor,
    states: list[Tensor],
    lengths: Tensor | None,
    weights: list[Tensor],
    sizes: dict[str, int],
) -> list[Tensor]:
    """Put the operator into the graph: x [T, B, I], states [L·D, B, H] → output [T, B, D·H] and final states."""
    time_steps, batch_size = x.shape[:2]
    depth = sizes["num_layers"] * sizes["num_directions"]
    output_size = sizes.get("proj_size") or sizes["hidden_size"]
    shapes: list[list[Any]] = [
        [time_steps, batch_size, sizes["num_directions"] * output_size],
        [depth, batch_size, output_size],
    ]
    if cell == "LSTM":
        shapes.append([depth, batch_size, sizes["hidden_size"]])
    h_0, c_0 = [*states, None, None][:2]
    outputs = symbolic_multi_out(
        f"{DOMAIN}::{cell}",
        [x, h_0, c_0, lengths, *weights],
        {"path": path, **sizes},
        dtypes=[x.dtype] * len(shapes),
        shapes=shapes,
        version=1,
    )
    return list(outputs)


OPAQUE = torch.ops.onnx_symbolic._symbolic_multi_out.default
"""The operator that stands for a recurrent layer in a trace."""


def computed(operands: list[Tensor | None], cell: str, attributes: dict[str, Any]) -> list[Tensor]:
    """Compute an opaque operator with PyTorch: what `_opaque` was given → output and final states.

    Args:
        operands: x [T, B, I], h_0, c_0, lengths, weights; what is `None` is left out.
        cell: `LSTM`, `GRU` or `RNN`.
        attributes: The operator's other arguments, attributes encoded as PyTorch encodes them.

    Raises:
        ExportError: PyTorch has no such layer.
    """
    sizes, _ = _attributes(attributes)
    x, h_0, c_0, lengths = operands[:4]
    weights = [weight for weight in operands[4:] if weight is not None]
    if x is None or not sizes.get("linear_before_reset", 1):
        raise ExportError("a loop beside a reset-before GRU cannot be compared with its steps")
    output_size = sizes.get("proj_size") or sizes["hidden_size"]
    depth = sizes["num_layers"] * sizes["num_directions"]
    states = [x.new_zeros(depth, x.shape[1], output_size) if h_0 is None else h_0]
    if cell == "LSTM":
        states.append(x.new_zeros(depth, x.shape[1], sizes["hidden_size"]) if c_0 is None else c_0)
    layer: Any = {"LSTM": torch.lstm, "GRU": torch.gru}.get(
        cell, torch.rnn_relu if sizes.get("relu") else torch.rnn_tanh
    )
    options = (weights, bool(sizes["bias"]), sizes["num_layers"], 0.0, False, sizes["num_directions"] == 2)
    if lengths is None:
        return list(layer(x, states if cell == "LSTM" else states[0], *options, False))
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    states = [state[:, packed.sorted_indices] for state in states]
    y, *final = layer(packed.data, packed.batch_sizes, states if cell == "LSTM" else states[0], *options)
    steps, _ = pad_packed_sequence(packed._replace(data=y), total_length=len(x))
    return [steps, *(state[:, packed.unsorted_indices] for state in final)]


def over_other_rows(
    operands: list[Tensor | None], cell: str, attributes: dict[str, Any], *, is_real: bool
) -> list[Tensor]:
    """Put an opaque operator into the graph once more, over rows of another batch, or compute it: see `computed`."""
    if is_real:
        return computed(operands, cell, attributes)
    x, h_0, c_0, lengths, *weights = operands
    assert x is not None
    sizes, path = _attributes(attributes)
    states = [state for state in (h_0, c_0) if state is not None]
    return _opaque(cell, path, x, states, lengths, [weight for weight in weights if weight is not None], sizes)


def _attributes(attributes: dict[str, Any]) -> tuple[dict[str, int], str]:
    """The sizes and the path that `_opaque` was given, as PyTorch encodes them."""
    places = [*zip(attributes["attr_keys"], attributes["attr_types"], attributes["attr_pos"], strict=True)]
    sizes = {key: attributes["attr_ints"][start] for key, kind, (start, _) in places if kind == "i"}
    path = next(attributes["attr_strs"][start] for key, _, (start, _) in places if key == "path")
    return sizes, path
