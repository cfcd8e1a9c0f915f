"""While a module is traced, its recurrent layers appear in the graph as one opaque operator each.

1. `nn.LSTM`, `nn.GRU`, `nn.LSTMCell`, `nn.GRUCell` and `ResetBeforeGRU` are caught at their `forward`, so it does not
   matter how the user's code found or subclassed them. PyTorch's own decomposition would unroll them over the traced
   number of steps.
2. The operator states output shapes only. It carries the weights as inputs and the module's path as its name.
3. Everything is put back on leaving, also after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.onnx.ops import symbolic_multi_out

from rnnexport.capture.packed import batch_of
from rnnexport.errors import ExportError
from rnnexport.models.cells import ResetBeforeGRU

DOMAIN = "rnnexport"
"""The ONNX domain of the opaque operators."""


@contextmanager
def recurrent_layers_caught(module: nn.Module, before_cell: Callable[[], None] | None) -> Iterator[None]:
    """Replace the forward of every recurrent layer class, for as long as the context lasts.

    Args:
        module: Where the layers' paths come from.
        before_cell: Called at each call of a cell; `None` leaves cells to PyTorch, whose own operators show them.
    """
    paths = {id(child): path for path, child in module.named_modules()}

    def stack(self: nn.RNNBase, input: Tensor, hx: Any = None) -> Any:  # callers may name the arguments
        return _stack(self, paths.get(id(self), ""), input, hx)

    def cell(self: nn.RNNCellBase, input: Tensor, hx: Any = None) -> Any:
        if before_cell is not None:
            before_cell()
        return _cell(self, paths.get(id(self), ""), input, hx)

    def refuse(self: nn.Module, input: Tensor, hx: Any = None) -> NoReturn:
        raise ExportError(f"layer {paths.get(id(self), '')!r} is an nn.{type(self).__name__}; use an nn.LSTM or nn.GRU")

    table: list[tuple[type[nn.Module], Callable[..., Any]]] = [
        (nn.LSTM, stack),
        (nn.GRU, stack),
        (ResetBeforeGRU, stack),
        (nn.RNN, refuse),
        (nn.RNNCell, refuse),
    ]
    if before_cell is not None:
        table += [(nn.LSTMCell, cell), (nn.GRUCell, cell)]
    originals = [(kind, kind.forward) for kind, _ in table]
    try:
        for kind, forward in table:
            kind.forward = forward
        yield
    finally:
        for kind, forward in originals:
            kind.forward = forward


def _stack(layer: nn.RNNBase, path: str, x: Tensor | PackedSequence, hx: Any) -> Any:
    """Stand in for `nn.LSTM.forward` and `nn.GRU.forward`."""
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


def _cell(layer: nn.RNNCellBase, path: str, x: Tensor, hx: Any) -> Any:
    """Stand in for the forward of a cell: a layer over one step."""
    is_lstm = isinstance(layer, nn.LSTMCell)
    is_batched = x.dim() == 2
    rows = x if is_batched else x.unsqueeze(0)
    states = [(state if is_batched else state.unsqueeze(0)).unsqueeze(0) for state in _states(hx, is_lstm)]
    weights = [layer.weight_ih, layer.weight_hh, *([layer.bias_ih, layer.bias_hh] if layer.bias else [])]
    _, *final = opaque_layer("LSTM" if is_lstm else "GRU", path, rows.unsqueeze(0), states, weights)
    final = [state.squeeze(0) if is_batched else state.squeeze(0).squeeze(0) for state in final]
    return tuple(final) if is_lstm else final[0]


def opaque_layer(cell: str, path: str, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    """Put one layer of one direction into the graph.

    Args:
        cell: `LSTM` or `GRU`.
        path: The module's path.
        x: [T, B, I].
        states: h_0 and, for an LSTM, c_0 [1, B, H]; empty for zeros.
        weights: weight_ih, weight_hh and, if there are any, bias_ih, bias_hh.

    Returns:
        The output [T, B, H] and the final states [1, B, H].
    """
    sizes = {"hidden_size": weights[1].shape[1], "num_layers": 1, "num_directions": 1, "bias": int(len(weights) > 2)}
    return _opaque(cell, path, x, states, None, weights, sizes)


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
    }
    return _opaque("LSTM" if isinstance(layer, nn.LSTM) else "GRU", path, x, states, lengths, weights, sizes)


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
