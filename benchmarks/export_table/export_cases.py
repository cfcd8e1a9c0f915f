"""Models as people have them: what `rnnexport export` must write right for every size, or refuse with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnexport.models.cells import ResetBeforeGRU

SERIES, TIME_MAJOR, NO_BATCH = "x:float32[batch,time,5]", "x:float32[time,batch,5]", "x:float32[time,5]"
TOKENS, LENGTHS = "tokens:int64[batch,time]", "lengths:int64[batch]"


@dataclass(frozen=True)
class ExportCase:
    """A model and the inputs that fit it."""

    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[str, ...]
    refused: str | None = None
    """Part of the message, where the export must be refused."""
    sorted_lengths: bool = False
    """Whether the model takes only series that are sorted by length."""
    least: int = 1
    """The smallest number of steps that the model takes."""
    step: int = 1
    """Of the numbers of steps from there on."""


class Run(nn.Module):
    """A module whose forward is a function of it; its parts are attributes."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        """Call the function."""
        return self.function(self, *inputs)


def output(m: Any, x: Tensor) -> Tensor:
    """Every step's output."""
    return m.rnn(x)[0]


# Recurrent layers with all their options -----------------------------------------------------------------------------


def layer(kind: Any, inputs: str = SERIES, **options: Any) -> tuple[Callable[[], nn.Module], tuple[str, ...]]:
    """A layer by itself: output and states are the graph's outputs."""
    return lambda: kind(5, 8, **({"batch_first": True} | options)), (inputs.replace("x:", "input:"),)


def with_states(kind: Any) -> ExportCase:
    """Initial states as inputs."""
    states = ["hx.0:float32[2,batch,8]", "hx.1:float32[2,batch,8]"] if kind is nn.LSTM else ["hx:float32[2,batch,8]"]
    make, inputs = layer(kind, num_layers=2)
    return ExportCase(f"{kind.__name__}: initial states as inputs", make, (*inputs, *states))


def zero_states(m: Any, x: Tensor) -> Any:
    """The zeros that many write out."""
    zeros = torch.zeros(1, x.shape[0], 8, dtype=x.dtype, device=x.device)
    return m.rnn(x, (zeros, zeros) if isinstance(m.rnn, nn.LSTM) else zeros)[0]


def learned_states(m: Any, x: Tensor) -> Any:
    """Initial states that training found."""
    h, c = m.h_0.expand(-1, x.shape[0], -1).contiguous(), m.c_0.repeat(1, x.shape[0], 1)
    return m.rnn(x, (h, c) if isinstance(m.rnn, nn.LSTM) else h)[0]


def layer_cases(kind: Any) -> list[ExportCase]:
    """All options of one class of layers."""
    plain: dict[str, dict[str, Any]] = {
        "one layer": {},
        "four layers": {"num_layers": 4},
        "bidirectional": {"bidirectional": True},
        "two layers, bidirectional": {"num_layers": 2, "bidirectional": True},
        "without bias": {"bias": False},
        "dropout, left in training mode": {"num_layers": 2, "dropout": 0.5},
        **({"projection": {"proj_size": 3, "num_layers": 2}} if kind is nn.LSTM else {}),
    }
    name = kind.__name__
    cases = [ExportCase(f"{name}: {title}", *layer(kind, **options)) for title, options in plain.items()]

    def with_learned_states() -> nn.Module:
        h_0, c_0 = nn.Parameter(torch.randn(1, 1, 8)), torch.randn(1, 1, 8)
        return Run(learned_states, rnn=kind(5, 8, batch_first=True), h_0=h_0, c_0=c_0)

    return [
        *cases,
        ExportCase(f"{name}: time-major", *layer(kind, TIME_MAJOR, batch_first=False)),
        ExportCase(f"{name}: without a batch", *layer(kind, NO_BATCH)),
        with_states(kind),
        ExportCase(f"{name}: zeros as states", lambda: Run(zero_states, rnn=kind(5, 8, batch_first=True)), (SERIES,)),
        ExportCase(f"{name}: learned states", with_learned_states, (SERIES,)),
        ExportCase(
            f"{name}: float16",
            lambda: kind(5, 8, batch_first=True).half(),
            ("input:float16[batch,time,5]",),
        ),
    ]


# Whole models --------------------------------------------------------------------------------------------------------


def tagger() -> nn.Module:
    """Embedding → bidirectional GRU → head on every step."""
    rnn = nn.GRU(6, 8, batch_first=True, bidirectional=True)
    return Run(
        lambda m, tokens: m.head(m.rnn(m.embedding(tokens))[0]),
        embedding=nn.Embedding(10, 6),
        rnn=rnn,
        head=nn.Linear(16, 3),
    )


def convolution_first() -> nn.Module:
    """Conv1d → LSTM."""
    return Run(
        lambda m, x: m.rnn(torch.relu(m.conv(x.transpose(1, 2))).transpose(1, 2))[0],
        conv=nn.Conv1d(5, 6, 3, padding=1),
        rnn=nn.LSTM(6, 8, batch_first=True),
    )


def attention() -> nn.Module:
    """LSTM → softmax attention over time → head, outputs in a dict."""

    def forward(m: Any, x: Tensor) -> dict[str, Tensor]:
        y, _ = m.rnn(x)
        weights = torch.softmax(m.score(y), dim=1)
        return {"logits": m.head((weights * y).sum(1)), "attention": weights.squeeze(-1)}

    return Run(forward, rnn=nn.LSTM(5, 8, batch_first=True), score=nn.Linear(8, 1), head=nn.Linear(8, 2))


def residual() -> nn.Module:
    """Two recurrent layers in sequence, with a skip connection."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y, _ = m.first(x)
        return m.norm(y + m.second(y)[0])

    return Run(
        forward, first=nn.GRU(5, 8, batch_first=True), second=nn.LSTM(8, 8, batch_first=True), norm=nn.LayerNorm(8)
    )


def side_by_side() -> nn.Module:
    """Two recurrent layers on one input, time-major."""

    def forward(m: Any, x: Tensor) -> Tensor:
        series = x.transpose(0, 1)
        return m.first(series)[0] + m.second(series)[0]

    return Run(forward, first=nn.GRU(5, 8), second=nn.LSTM(5, 8))


def translator() -> nn.Module:
    """Encoder-decoder with teacher forcing."""

    def forward(m: Any, tokens: Tensor, target: Tensor) -> Tensor:
        _, state = m.encoder(m.source(tokens))
        return m.head(m.decoder(m.embedding(target), state)[0])

    return Run(
        forward,
        source=nn.Embedding(10, 4),
        embedding=nn.Embedding(10, 6),
        encoder=nn.LSTM(4, 8, batch_first=True),
        decoder=nn.LSTM(6, 8, batch_first=True),
        head=nn.Linear(8, 10),
    )


def flattened(m: Any, x: Tensor) -> Tensor:
    """A head on all steps at once."""
    y = m.rnn(x)[0]
    return m.head(y.reshape(x.shape[0] * x.shape[1], -1)).view(x.shape[0], x.shape[1], 2)


def calls_it_twice(m: Any, x: Tensor) -> Tensor:
    """One layer, called twice."""
    return m.rnn(m.rnn(x)[0])[0]


def weight_norm() -> nn.Module:
    """A weight that is computed from two parameters."""
    gru = nn.GRU(5, 8, batch_first=True)
    return Run(output, rnn=nn.utils.parametrizations.weight_norm(gru, "weight_hh_l0"))


def model_cases() -> list[ExportCase]:
    """Recurrent layers among others."""

    def lstm(size: int = 8) -> nn.Module:
        return nn.LSTM(5, size, batch_first=True)

    def on_last_state() -> nn.Module:
        rnn = nn.GRU(5, 8, num_layers=2, batch_first=True)
        return Run(lambda m, x: m.head(m.rnn(x)[1][-1]), rnn=rnn, head=nn.Linear(8, 2))

    def reset_before() -> nn.Module:
        return ResetBeforeGRU(5, 8, 2, batch_first=True, bidirectional=True)

    return [
        ExportCase("embedding → GRU → head", tagger, (TOKENS,)),
        ExportCase("Conv1d → LSTM", convolution_first, (SERIES,)),
        ExportCase("LSTM → attention → head, dict of outputs", attention, (SERIES,)),
        ExportCase("two layers in sequence with a residual", residual, (SERIES,)),
        ExportCase("two layers side by side", side_by_side, (SERIES,)),
        ExportCase("encoder-decoder, teacher forcing", translator, (TOKENS, "target:int64[batch,target_time]")),
        ExportCase("head on h_n", on_last_state, (SERIES,)),
        ExportCase("reshape to batch·time", lambda: Run(flattened, rnn=lstm(), head=nn.Linear(8, 2)), (SERIES,)),
        ExportCase("tuple of outputs and states", lambda: Run(lambda m, x: m.rnn(x), rnn=lstm()), (SERIES,)),
        ExportCase("one layer called twice", lambda: Run(calls_it_twice, rnn=lstm(5)), (SERIES,)),
        ExportCase("weight norm", weight_norm, (SERIES,)),
        ExportCase("GRU, reset before the product", reset_before, ("input:float32[batch,time,5]",)),
    ]


# Packed sequences ----------------------------------------------------------------------------------------------------


def packed(use: str, *, enforce_sorted: bool = False, kind: Any = nn.LSTM, **options: Any) -> nn.Module:
    """Pack, run, and take the padded output or the last state."""

    def forward(m: Any, x: Tensor, lengths: Tensor) -> Any:
        series = pack_padded_sequence(x, lengths.cpu(), m.rnn.batch_first, enforce_sorted)
        y, state = m.rnn(series)
        if use == "states":
            return state
        return m.head(pad_packed_sequence(y, m.rnn.batch_first, total_length=x.shape[1])[0])

    rnn = kind(5, 8, **({"batch_first": True} | options))
    return Run(forward, rnn=rnn, head=nn.Linear(16 if rnn.bidirectional else 8, 2))


def packed_cases() -> list[ExportCase]:
    """pack_padded_sequence in its usual arrangements."""
    both = {"bidirectional": True, "num_layers": 2}
    arrangements: dict[str, dict[str, Any]] = {
        "not sorted": {"use": "output"},
        "sorted": {"use": "output", "enforce_sorted": True},
        "only h_n": {"use": "states", "kind": nn.GRU},
        "only h_n and c_n, bidirectional": {"use": "states", **both},
        "LSTM, two layers, bidirectional": {"use": "output", **both},
        "GRU, two layers, bidirectional": {"use": "output", "kind": nn.GRU, **both},
        "reset before the product": {"use": "output", "kind": ResetBeforeGRU},
    }
    return [
        ExportCase(
            f"packed: {title}",
            partial(packed, **options),
            (SERIES, LENGTHS),
            sorted_lengths=options.get("enforce_sorted", False),
        )
        for title, options in arrangements.items()
    ]


# Cells ---------------------------------------------------------------------------------------------------------------


def stacked_steps(m: Any, x: Tensor) -> Any:
    """The loop of PyTorch's documentation."""
    h, c, steps = x.new_zeros(x.shape[0], 8), x.new_zeros(x.shape[0], 8), []
    for t in range(x.shape[1]):
        h, c = m.cell(x[:, t], (h, c))
        steps.append(h)
    return torch.stack(steps, dim=1), c


def written_in_place(m: Any, x: Tensor) -> Tensor:
    """Each step fills its place in the output."""
    out, h = x.new_zeros(x.shape[0], x.shape[1], 8), x.new_zeros(x.shape[0], 8)
    for t in range(x.size(1)):
        h = m.cell(x[:, t], h)
        out[:, t] = h
    return out


def both_directions(m: Any, x: Tensor) -> Tensor:
    """Two loops, joined."""
    first, second = [], []
    h = b = x.new_zeros(x.shape[0], 8)
    for t in range(x.shape[1]):
        h = m.cell(x[:, t], h)
        first.append(h)
    for t in reversed(range(x.shape[1])):
        b = m.back(x[:, t], b)
        second.append(b)
    return torch.cat([torch.stack(first, 1), torch.stack(second[::-1], 1)], -1)


def two_cells(m: Any, x: Tensor) -> Tensor:
    """Two cells and a head in every step."""
    first, second, steps = None, None, []
    for step in x.unbind(1):
        first = m.first(step, first)
        second = m.second(torch.relu(m.norm(first[0])), second)
        steps.append(m.head(second))
    return torch.stack(steps, 1)


def feeds_itself(m: Any, x: Tensor) -> Tensor:
    """What a step gives is what the next one takes."""
    step, h, steps = x[:, 0], x.new_zeros(x.shape[0], 8), []
    for _ in range(x.shape[1]):
        h = m.cell(step, h)
        step = m.head(h)
        steps.append(step)
    return torch.stack(steps, 1)


def depends_on_values(m: Any, x: Tensor) -> Tensor:
    """Another branch for another input."""
    return m.rnn(x)[0] if x.sum() > 0 else m.rnn(-x)[0]


def cell_cases() -> list[ExportCase]:
    """Cells, alone and in loops; what cannot be one graph."""

    def gru_cell() -> nn.Module:
        return nn.GRUCell(5, 8)

    one_step = ("input:float32[batch,5]", "hx.0:float32[batch,8]", "hx.1:float32[batch,8]")
    return [
        ExportCase("LSTMCell, one step", lambda: nn.LSTMCell(5, 8), one_step),
        ExportCase("GRUCell, one step", gru_cell, ("input:float32[batch,5]", "hx:float32[batch,8]")),
        ExportCase("loop: LSTMCell, outputs stacked", lambda: Run(stacked_steps, cell=nn.LSTMCell(5, 8)), (SERIES,)),
        ExportCase(
            "loop: GRUCell, outputs written in place", lambda: Run(written_in_place, cell=gru_cell()), (SERIES,)
        ),
        ExportCase("loop: two directions", lambda: Run(both_directions, cell=gru_cell(), back=gru_cell()), (SERIES,)),
        ExportCase(
            "loop: two cells, norm and head in each step",
            lambda: Run(
                two_cells, first=nn.LSTMCell(5, 8), second=nn.GRUCell(8, 4), norm=nn.LayerNorm(8), head=nn.Linear(4, 2)
            ),
            (SERIES,),
        ),
        ExportCase(
            "loop: each step feeds the next",
            lambda: Run(feeds_itself, cell=gru_cell(), head=nn.Linear(8, 5)),
            (SERIES,),
        ),
        ExportCase(
            "branch on the input's values",
            lambda: Run(depends_on_values, rnn=nn.GRU(5, 8, batch_first=True)),
            (SERIES,),
        ),
        ExportCase("nn.RNN", *layer(nn.RNN)),
    ]


CASES = [*layer_cases(nn.LSTM), *layer_cases(nn.GRU), *model_cases(), *packed_cases(), *cell_cases()]
