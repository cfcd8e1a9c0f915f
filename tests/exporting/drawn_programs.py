"""Small forwards, drawn: a chain of what people write around recurrent layers, and what they return.

Every stage takes and gives [batch, time, features]; a stage that needs the lengths of the rows gets them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FEATURES = 5
_LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Stage(nn.Module):
    """One part of a program."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.out_size = size


class Layer(Stage):
    """A recurrent layer, its states left out, made in forward, or learned; over padded or packed rows."""

    def __init__(self, size: int, kind: str, depth: int, bidirectional: bool, states: str, use: str) -> None:
        super().__init__(6 * (1 + bidirectional))
        self.rnn = _LAYERS[kind](size, 6, depth, batch_first=use != "time-major", bidirectional=bidirectional)
        self.states, self.use, self.depth = states, use, depth * (1 + bidirectional)
        self.learned = nn.Parameter(torch.randn(self.depth, 1, 6))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Run the layer."""
        state: Any = None
        if self.states != "none":
            zeros = {
                "zeros": lambda: torch.zeros(self.depth, x.size(0), 6, device=x.device),
                "new_zeros": lambda: x.new_zeros(self.depth, x.shape[0], 6),
                "learned": lambda: self.learned.expand(-1, x.shape[0], -1).contiguous(),
            }[self.states]()
            state = (zeros, zeros) if isinstance(self.rnn, nn.LSTM) else zeros
        if self.use == "packed":
            rows = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            return pad_packed_sequence(self.rnn(rows, state)[0], batch_first=True, total_length=x.shape[1])[0]
        if self.use == "time-major":
            y: Tensor = self.rnn(x.transpose(0, 1), state)[0].transpose(0, 1)
            return y
        output: Tensor = self.rnn(x, state)[0]
        return output


class CellLoop(Stage):
    """A loop over a cell, with something beside the cell in each step."""

    def __init__(self, size: int, kind: str, extra: str, writing: str) -> None:
        super().__init__(6)
        self.cell = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[kind](size, 6)
        self.norm, self.head, self.extra, self.writing = nn.LayerNorm(6), nn.Linear(6, 6), extra, writing

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Run the loop."""
        h = c = x.new_zeros(x.shape[0], 6)
        steps, out = [], x.new_zeros(x.shape[0], x.shape[1], 6)
        for t in range(x.size(1)):
            before = h
            if isinstance(self.cell, nn.LSTMCell):
                h, c = self.cell(x[:, t], (h, c))
            else:
                h = self.cell(x[:, t], h)
            if self.extra == "mask":
                h = torch.where((t < lengths)[:, None], h, before)
            elif self.extra == "norm":
                h = self.norm(h)
            elif self.extra == "residual":
                h = h + 0.5 * before
            elif self.extra == "zoneout":
                h = 0.9 * h + 0.1 * before
            y = torch.tanh(self.head(h)) if self.extra == "head" else h
            if self.writing == "in place":
                out[:, t] = y
            steps.append(y)
        return out if self.writing == "in place" else torch.stack(steps, 1)


def _convolution(padding: int, stride: int) -> Callable[[int], Stage]:
    class Convolution(Stage):
        def __init__(self, size: int) -> None:
            super().__init__(4)
            self.conv = nn.Conv1d(size, 4, 3, stride=stride, padding=padding)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)

    return Convolution


def _function(function: Callable[[Any, Tensor, Tensor], Tensor], size: Callable[[int], int] = int) -> Any:
    class Function(Stage):
        def __init__(self, width: int) -> None:
            super().__init__(size(width))
            self.linear, self.norm, self.score = nn.Linear(width, 6), nn.LayerNorm(width), nn.Linear(width, 1)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return function(self, x, lengths)

    return Function


def _masked(x: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(x.shape[1])[None] < lengths[:, None]


FUNCTIONS: dict[str, Any] = {
    "linear": _function(lambda m, x, _: torch.relu(m.linear(x)), lambda _: 6),
    "layer norm": _function(lambda m, x, _: m.norm(x)),
    "dropout": _function(lambda m, x, _: functional.dropout(x, 0.5, m.training)),
    "time reversed": _function(lambda m, x, _: x.flip(1)),
    "difference": _function(lambda m, x, _: torch.cat([x[:, :1], x[:, 1:] - x[:, :-1]], 1)),
    "cumulative sum": _function(lambda m, x, _: x.cumsum(1) / x.shape[1]),
    "attention": _function(lambda m, x, _: x + (torch.softmax(m.score(x), 1) * x).sum(1, keepdim=True)),
    "masked attention": _function(
        lambda m, x, n: (
            x + (m.score(x).masked_fill(~_masked(x, n)[..., None], -1e9).softmax(1) * x).sum(1, keepdim=True)
        )
    ),
    "padding zeroed": _function(lambda m, x, n: x * _masked(x, n)[..., None]),
    "batch times time": _function(
        lambda m, x, _: m.linear(x.reshape(-1, x.size(-1))).view(x.size(0), x.size(1), -1), lambda _: 6
    ),
    "halves of the features": _function(
        lambda m, x, _: torch.cat([torch.sigmoid(p) for p in m.linear(x).chunk(2, -1)], -1), lambda _: 6
    ),
    "halves of time": _function(lambda m, x, _: x + sum(p.mean(1, keepdim=True) for p in x.chunk(2, 1))),
    "pieces of two steps": _function(lambda m, x, _: torch.cat([p * 2 for p in x.split(2, 1)], 1)),
    "windows": _function(lambda m, x, _: x.unfold(1, 2, 1).mean(-1)),
    "even number of steps": _function(lambda m, x, _: functional.pad(x, (0, 0, 0, x.shape[1] % 2))),
    "stride of two": _function(lambda m, x, _: x[:, ::2]),
    "mean of the steps": _function(lambda m, x, _: x - x.mean(1, keepdim=True)),
    "cast to float32": _function(lambda m, x, _: m.norm(x.to(torch.float32))),
}
RETURNS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "the steps": lambda y, n: y,
    "the last step": lambda y, n: y[:, -1],
    "the last valid step": lambda y, n: y[torch.arange(y.shape[0]), (n - 1).clamp(max=y.shape[1] - 1)],
    "the mean": lambda y, n: y.mean(1),
    "the largest": lambda y, n: y.max(1).values,
    "a dictionary": lambda y, n: {"steps": y, "sum": y.sum(1)},
    "a tuple with None": lambda y, n: (y, None, [y[:, 0]]),
    "lengths, too": lambda y, n: (y, n),
}


@dataclass(frozen=True)
class Drawn:
    """A program as it was drawn."""

    stages: tuple[tuple[str, tuple[Any, ...]], ...]
    returns: str


class Program(nn.Module):
    """Runs the stages one after another."""

    def __init__(self, drawn: Drawn) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stages, self.returns = nn.ModuleList(), RETURNS[drawn.returns]
        size = FEATURES
        for name, options in drawn.stages:
            made: Stage
            if name == "layer":
                made = Layer(size, *options)
            elif name == "loop":
                made = CellLoop(size, *options)
            elif name == "convolution":
                made = _convolution(*options)(size)
            else:
                made = FUNCTIONS[name](size)
            self.stages.append(made)
            size = made.out_size

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        """Run the program; every stage that needs lengths takes those of the input, cut to what is left of time."""
        for stage in self.stages:
            x = stage(x, lengths.clamp(max=x.shape[1]))
        return self.returns(x, lengths)


_layer = st.tuples(
    st.sampled_from([*_LAYERS]),
    st.integers(1, 2),
    st.booleans(),
    st.sampled_from(["none", "zeros", "new_zeros", "learned"]),
    st.sampled_from(["plain", "time-major", "packed"]),
)
_loop = st.tuples(
    st.sampled_from([*_LAYERS]),
    st.sampled_from(["nothing", "mask", "norm", "residual", "zoneout", "head"]),
    st.sampled_from(["stacked", "in place"]),
)
_stage = st.one_of(
    st.tuples(st.just("layer"), _layer),
    st.tuples(st.just("loop"), _loop),
    st.tuples(st.just("convolution"), st.tuples(st.integers(0, 1), st.integers(1, 2))),
    st.tuples(st.sampled_from([*FUNCTIONS]), st.just(())),
)
programs = st.builds(Drawn, st.lists(_stage, min_size=1, max_size=4).map(tuple), st.sampled_from([*RETURNS]))
