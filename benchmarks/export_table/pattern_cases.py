"""What authors of modules write around recurrent layers, pattern by pattern."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.export_table.export_cases import LENGTHS, SERIES, TOKENS, ExportCase, Run, output

Forward = Callable[..., Any]


def _with_layer(forward: Forward, **parts: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A module with a GRU, `rnn`, over 5 features and what else the forward calls."""
    return lambda: Run(forward, rnn=nn.GRU(5, 8, batch_first=True), **{name: make() for name, make in parts.items()})


def zeros_of_the_default_type(m: Any, x: Tensor) -> Any:
    """The state that most people make."""
    return m.rnn(x, torch.zeros(1, x.size(0), 8).to(x.device))


def states_for_each_part(m: Any, x: Tensor) -> Tensor:
    """The state begins anew in the middle."""
    half = x.shape[1] // 2
    parts = [m.rnn(part, x.new_zeros(1, len(x), 8))[0] for part in (x[:, :half], x[:, half:])]
    return torch.cat(parts, 1)


def frames(m: Any, x: Tensor) -> Tensor:
    """A convolution without padding in front."""
    return m.rnn(m.conv(x.transpose(1, 2)).transpose(1, 2))[0]


def pyramid(m: Any, x: Tensor) -> Tensor:
    """Pairs of steps become one."""
    steps = m.rnn(x)[0]
    return m.second(steps.reshape(steps.size(0), steps.size(1) // 2, 16))[0]


def last_valid_step(m: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """Gathered where each row ends."""
    index = (lengths - 1).view(-1, 1, 1).expand(-1, 1, 8)
    return m.rnn(x)[0].gather(1, index).squeeze(1)


def nested_outputs(m: Any, x: Tensor) -> Any:
    """A dictionary of a tensor, a list and nothing, and an input."""
    y, h = m.rnn(x)
    return {"steps": y, "states": [h, (y[:, 0],)], "attention": None}, x


class WeightDrop(nn.Module):
    """As in an AWD-LSTM: the wrapper sets a weight of its layer in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 8, batch_first=True)
        self.raw = nn.Parameter(self.rnn.get_parameter("weight_hh_l0").data)
        del self.rnn._parameters["weight_hh_l0"]
        self.rnn.weight_hh_l0 = self.raw.data

    def forward(self, x: Tensor) -> Tensor:
        """Set the weight and call the layer."""
        self.rnn.weight_hh_l0 = functional.dropout(self.raw, 0.5, self.training).data
        y: Tensor = self.rnn(x)[0]
        return y


def _pruned() -> nn.Module:
    with torch.no_grad():
        return Run(output, rnn=prune.l1_unstructured(nn.GRU(5, 8, batch_first=True), "weight_hh_l0", 0.5))


def _orthogonal() -> nn.Module:
    return Run(output, rnn=parametrizations.orthogonal(nn.RNN(5, 8, batch_first=True), "weight_hh_l0"))


def _loop(step: Callable[[Any, Tensor, Tensor, int], Tensor]) -> Forward:
    """A loop over a cell, whose new state goes through `step` with the one before and the step's number."""

    def forward(m: Any, x: Tensor, *lengths: Tensor) -> Tensor:
        m.lengths, m.memory = lengths, x
        h, steps = x.new_zeros(x.size(0), 8), []
        for t in range(x.size(1)):
            h = step(m, m.cell(x[:, t], h), h, t)
            steps.append(h)
        return torch.stack(steps, 1)

    return forward


def attending(m: Any, h: Tensor, before: Tensor, t: int) -> Tensor:
    """Attention over the whole input in each step."""
    weights = torch.softmax(m.key(m.memory) @ h.unsqueeze(-1), 1)
    return h + m.value(weights * m.memory).sum(1)


def row_by_row(m: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """A layer over each row, and its step where the row ends."""
    return torch.stack([m.rnn(row)[0][length - 1] for row, length in zip(x, lengths, strict=True)])


def packed_by_a_list(m: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """Lengths as numbers."""
    rows = pack_padded_sequence(x, lengths.tolist(), batch_first=True)
    return pad_packed_sequence(m.rnn(rows)[0], batch_first=True)[0]


def padded_by_if(m: Any, x: Tensor) -> Tensor:
    """Padded to a multiple of 3."""
    if missing := -x.shape[1] % 3:
        x = functional.pad(x, (0, 0, 0, missing))
    return m.rnn(x)[0]


def in_fours(m: Any, x: Tensor) -> Tensor:
    """As many pieces as there are."""
    return torch.stack([m.rnn(piece)[1][0] for piece in x.split(4, 1)]).sum(0)


def without_an_odd_step(m: Any, x: Tensor) -> Tensor:
    """A branch on a size of which neither is right at all sizes."""
    return m.rnn(x[:, :-1] if x.shape[1] % 2 else x)[0]


def until_a_value(m: Any, x: Tensor) -> Tensor:
    """As many steps as a value says."""
    y = m.rnn(x)[0]
    while y.abs().max() > 0.1:
        y = y / 2
    return y


_MASK = _loop(lambda m, h, before, t: torch.where((t < m.lengths[0])[:, None], h, before))
_NORM = _loop(lambda m, h, before, t: m.norm(h))
_ZONEOUT = _loop(lambda m, h, before, t: 0.9 * h + 0.1 * before)
_CELL: dict[str, Callable[[], nn.Module]] = {"cell": lambda: nn.GRUCell(5, 8)}

PATTERNS: dict[str, list[ExportCase]] = {
    "states made in forward": [
        ExportCase("states: zeros of the default type", _with_layer(zeros_of_the_default_type), (SERIES,)),
        ExportCase("states: made again for each part", _with_layer(states_for_each_part), (SERIES,), least=2),
    ],
    "minimum sizes and strides": [
        ExportCase("sizes: Conv1d without padding", _with_layer(frames, conv=lambda: nn.Conv1d(5, 5, 5)), (SERIES,),
                   least=5),
        ExportCase("sizes: Conv1d with a stride", _with_layer(frames, conv=lambda: nn.Conv1d(5, 5, 4, stride=2)),
                   (SERIES,), least=4),
        ExportCase("sizes: max pooling", _with_layer(frames, conv=lambda: nn.MaxPool1d(2)), (SERIES,), least=2),
        ExportCase("sizes: pyramid", _with_layer(pyramid, second=lambda: nn.LSTM(16, 6, batch_first=True)), (SERIES,),
                   least=2, step=2),
    ],
    "values with a domain": [
        ExportCase("values: the last valid step", _with_layer(last_valid_step), (SERIES, LENGTHS)),
        ExportCase("values: tokens from 100 to 109",
                   _with_layer(lambda m, tokens: m.rnn(m.table(tokens - 100))[0], table=lambda: nn.Embedding(10, 5)),
                   (f"{TOKENS} in 100..109",)),
        ExportCase("values: a mask",
                   _with_layer(lambda m, x, mask: (m.rnn(x)[0] * mask.unsqueeze(-1)).sum(1)),
                   (SERIES, "mask:bool[batch,time]")),
    ],
    "outputs": [
        ExportCase("outputs: None among them", _with_layer(lambda m, x: (m.rnn(x)[0], None)), (SERIES,)),
        ExportCase("outputs: nested, an input among them", _with_layer(nested_outputs), (SERIES,)),
    ],
    "computed weights": [
        ExportCase("weights: orthogonal", _orthogonal, (SERIES,)),
        ExportCase("weights: pruned", _pruned, (SERIES,)),
        ExportCase("weights: weight drop", WeightDrop, (SERIES,)),
    ],
    "time in pieces": [
        ExportCase("pieces: two halves",
                   _with_layer(lambda m, x: sum(m.rnn(p)[1][0] for p in x.chunk(2, 1))),
                   ("x:float32[batch,time>=2,5]",), least=2),
        ExportCase("pieces: windows", _with_layer(lambda m, x: m.rnn(x.unfold(1, 3, 1).mean(-1))[0]), (SERIES,),
                   least=3),
        ExportCase("pieces: every second step", _with_layer(lambda m, x: m.rnn(x[:, ::2])[0]), (SERIES,)),
        ExportCase("pieces: of four steps", _with_layer(in_fours), (SERIES,), refused="into pieces of 4"),
    ],
    "loops": [
        ExportCase("loop: mask on the state", _with_layer(_MASK, **_CELL), (SERIES, LENGTHS)),
        ExportCase("loop: norm of the state", _with_layer(_NORM, norm=lambda: nn.LayerNorm(8), **_CELL), (SERIES,)),
        ExportCase("loop: zoneout", _with_layer(_ZONEOUT, **_CELL), (SERIES,)),
        ExportCase("loop: attention over a memory",
                   _with_layer(_loop(attending), key=lambda: nn.Linear(5, 8), value=lambda: nn.Linear(5, 8), **_CELL),
                   (SERIES,)),
        ExportCase("loop: after a stride of two", _with_layer(lambda m, x: _NORM(m, x[:, ::2]),
                   norm=lambda: nn.LayerNorm(8), **_CELL), (SERIES,)),
        ExportCase("loop: after windows of four steps", _with_layer(lambda m, x: _NORM(m, x.unfold(1, 4, 2).mean(-1)),
                   norm=lambda: nn.LayerNorm(8), **_CELL), (SERIES,), least=4),
        ExportCase("loop: over the rows of the batch",
                   lambda: Run(row_by_row, rnn=nn.LSTM(5, 8)), (SERIES, LENGTHS)),
        ExportCase("loop: as many steps as a value says", _with_layer(until_a_value), (SERIES,),
                   refused="depends on the values"),
    ],
    "other operators and sizes": [
        ExportCase("EmbeddingBag of full rows",
                   lambda: Run(lambda m, tokens: m.table(tokens), table=nn.EmbeddingBag(10, 5)), (TOKENS,)),
        ExportCase("lengths.tolist()", _with_layer(packed_by_a_list), (SERIES, LENGTHS), sorted_lengths=True),
        ExportCase("padding to a multiple by if", _with_layer(padded_by_if), (SERIES,)),
        ExportCase("an odd step dropped by if", _with_layer(without_an_odd_step), (SERIES,), least=2,
                   refused="forward takes another branch"),
    ],
}  # fmt: skip
PATTERN_CASES = [case for cases in PATTERNS.values() for case in cases]
