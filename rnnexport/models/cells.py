"""The equations of the cells, and the GRU that PyTorch does not have.

The float64 functions are written to be held against the papers, one line a gate; tests hold PyTorch's layers and
`ResetBeforeGRU` against them. Weights are stacked as PyTorch stacks them: rows in gate order, input, forget, cell,
output (i, f, g, o) for the LSTM and reset, update, new (r, z, n) for the GRU.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def lstm_step(x: Array, h: Array, c: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array) -> tuple[Array, Array]:
    """One step of the LSTM of Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000).

    Args:
        x: [B, I].
        h: Hidden state [B, H].
        c: Cell state [B, H].
        w_ih: [4H, I], rows i, f, g, o.
        w_hh: [4H, H].
        b_ih: [4H].
        b_hh: [4H].

    Returns:
        The new h and c.
    """
    i, f, g, o = np.split(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=-1)
    input_gate = sigmoid(i)
    forget_gate = sigmoid(f)
    candidate = np.tanh(g)
    output_gate = sigmoid(o)
    c_new = forget_gate * c + input_gate * candidate
    h_new = output_gate * np.tanh(c_new)
    return h_new, c_new


def gru_step(
    x: Array, h: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, *, reset_before: bool = False
) -> Array:
    """One step of the GRU.

    `reset_before` is the form of Cho et al. (2014), arXiv:1406.1078, equations 5 to 8: the reset gate scales the state
    before the product with the recurrent weights (Keras `reset_after=False`, ONNX `linear_before_reset=0`). Without it,
    the product is scaled, as in PyTorch and cuDNN (`linear_before_reset=1`). In both, the update gate weighs the old
    state, as PyTorch writes it; Cho et al. agree, some textbooks swap z and 1 - z.

    Args:
        x: [B, I].
        h: [B, H].
        w_ih: [3H, I], rows r, z, n.
        w_hh: [3H, H].
        b_ih: [3H].
        b_hh: [3H].
        reset_before: Which of the two forms.

    Returns:
        The new h [B, H].
    """
    x_r, x_z, x_n = np.split(x @ w_ih.T + b_ih, 3, axis=-1)
    w_hr, w_hz, w_hn = np.split(w_hh, 3)
    b_hr, b_hz, b_hn = np.split(b_hh, 3)
    reset_gate = sigmoid(x_r + h @ w_hr.T + b_hr)
    update_gate = sigmoid(x_z + h @ w_hz.T + b_hz)
    recurrent = (reset_gate * h) @ w_hn.T + b_hn if reset_before else reset_gate * (h @ w_hn.T + b_hn)
    new = np.tanh(x_n + recurrent)
    return np.asarray((1.0 - update_gate) * new + update_gate * h)


class ResetBeforeGRU(nn.GRU):
    """`nn.GRU` with the reset gate applied before the recurrent product (Cho et al. 2014).

    Constructor, parameters, inputs and outputs are those of `nn.GRU`; see `gru_step` for the equation. Runs as a Python
    loop over time, so it is slower than `nn.GRU`.
    """

    def forward(  # type: ignore[override] # nn.GRU declares overloads
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run all layers.

        Args:
            input: [T, B, I], [B, T, I] with `batch_first`, [T, I] unbatched, or packed.
            hx: Initial state [L * D, B, H]; zeros where it is not given.

        Returns:
            The last layer's outputs, in the form of the input, and the final states [L * D, B, H].
        """
        if isinstance(input, PackedSequence):
            padded, lengths = pad_packed_sequence(input)
            output, h_n = self._run(padded, lengths, hx)
            repacked = pack_padded_sequence(output, lengths, enforce_sorted=False)
            return repacked, h_n
        if input.dim() == 2:
            output, h_n = self._run(input[:, None], None, None if hx is None else hx[:, None])
            return output[:, 0], h_n[:, 0]
        x = input.transpose(0, 1) if self.batch_first else input
        output, h_n = self._run(x, None, hx)
        return (output.transpose(0, 1) if self.batch_first else output), h_n

    def _run(self, x: Tensor, lengths: Tensor | None, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        """All layers over time-major x [T, B, I]."""
        directions = 2 if self.bidirectional else 1
        initial = x.new_zeros(self.num_layers * directions, x.shape[1], self.hidden_size) if hx is None else hx
        # True where the step exists: [T, B, 1]
        exists = None if lengths is None else (torch.arange(len(x))[:, None] < lengths).to(x.device)[..., None]
        final = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                index = layer * directions + direction
                output, h = self._run_direction(x, exists, initial[index], index, reverse=direction == 1)
                outputs.append(output)
                final.append(h)
            x = torch.cat(outputs, dim=-1)
            if self.dropout and layer < self.num_layers - 1:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, torch.stack(final)

    def _run_direction(
        self, x: Tensor, exists: Tensor | None, h: Tensor, index: int, *, reverse: bool
    ) -> tuple[Tensor, Tensor]:
        weights = self.all_weights[index]
        w_ih, w_hh = weights[:2]
        b_ih, b_hh = weights[2:] if self.bias else (None, None)
        w_hrz, w_hn = w_hh[: 2 * self.hidden_size], w_hh[2 * self.hidden_size :]
        b_hrz, b_hn = (None, None) if b_hh is None else (b_hh[: 2 * self.hidden_size], b_hh[2 * self.hidden_size :])
        projected = nn.functional.linear(x, w_ih, b_ih)
        steps = range(len(x))
        outputs: list[Tensor] = [h] * len(x)
        for step in reversed(steps) if reverse else steps:
            x_rz, x_n = projected[step, :, : 2 * self.hidden_size], projected[step, :, 2 * self.hidden_size :]
            reset, update = torch.sigmoid(x_rz + nn.functional.linear(h, w_hrz, b_hrz)).chunk(2, dim=-1)
            new = torch.tanh(x_n + nn.functional.linear(reset * h, w_hn, b_hn))
            h_new = new + update * (h - new)
            h = h_new if exists is None else torch.where(exists[step], h_new, h)
            outputs[step] = h
        return torch.stack(outputs), h
