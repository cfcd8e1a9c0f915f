"""PyTorch's own tests of exporting recurrent layers, as cases of the table.

They are the combinations of `test/onnx/test_pytorch_onnx_onnxruntime.py`: each class of layers, one layer or three
with dropout between them, one direction or both, states given or not, plain or packed, time-major or batch-first; and
the single tests beside them that are no combination.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.export_table.export_cases import CASES, LENGTHS, SERIES, TIME_MAJOR, ExportCase, Run
from benchmarks.export_table.pattern_cases import PATTERN_CASES

HIDDEN = 7
_LAYERS: dict[str, tuple[Any, dict[str, str]]] = {
    "RNN, tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "RNN, relu": (nn.RNN, {"nonlinearity": "relu"}),
    "LSTM": (nn.LSTM, {}),
    "GRU": (nn.GRU, {}),
}
_DEPTHS = {"one layer": (1, 0.0), "three layers": (3, 0.2)}
_ARRANGEMENTS = {"plain": (False, False), "packed": (True, False), "packed, batch-first": (True, True)}


def plain(m: Any, x: Tensor, *states: Any) -> Any:
    """The layer by itself."""
    return m.rnn(x, *states)


def packed(m: Any, x: Tensor, *rest: Any) -> Any:
    """Packed, run, padded again; states come before the lengths."""
    *states, lengths = rest
    output, final = m.rnn(pack_padded_sequence(x, lengths, m.rnn.batch_first), *states)
    return pad_packed_sequence(output, m.rnn.batch_first)[0], final


def _combination(name: str, depth: str, arrangement: str, *, bidirectional: bool, with_states: bool) -> ExportCase:
    (kind, options), (num_layers, dropout) = _LAYERS[name], _DEPTHS[depth]
    is_packed, batch_first = _ARRANGEMENTS[arrangement]

    def make() -> nn.Module:
        rnn = kind(
            5,
            HIDDEN,
            num_layers,
            dropout=dropout,
            bidirectional=bidirectional,
            batch_first=batch_first,
            **options,
        )
        return Run(packed if is_packed else plain, rnn=rnn)

    state = f"float32[{num_layers * (1 + bidirectional)},batch,{HIDDEN}]"
    states = [f"hx.0:{state}", f"hx.1:{state}"] if kind is nn.LSTM else [f"hx:{state}"]
    inputs = [
        SERIES if batch_first else TIME_MAJOR,
        *(states if with_states else []),
        *([LENGTHS] if is_packed else []),
    ]
    words = [name, depth, *(["bidirectional"] * bidirectional), *(["states"] * with_states), arrangement]
    return ExportCase(f"PyTorch's test: {', '.join(words)}", make, tuple(inputs), sorted_lengths=True)


def single_cases() -> list[ExportCase]:
    """Tests that are no combination."""
    time_major = TIME_MAJOR.replace("x:", "input:")

    def biasless(name: str) -> Callable[[], nn.Module]:
        kind, options = _LAYERS[name]
        return lambda: kind(5, HIDDEN, bias=False, bidirectional=True, **options)

    def cell_loop(bias: bool) -> Callable[[], nn.Module]:
        return lambda: Run(steps_of_a_cell, cell=nn.LSTMCell(5, HIDDEN, bias=bias))

    def steps_of_a_cell(m: Any, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for step in range(x.size(0)):
            h, c = m.cell(x[step], (h, c))
            outputs.append(h)
        return torch.stack(outputs), c

    def in_sequence(m: Any, x: Tensor) -> Tensor:
        return m.second(m.first(x)[0])[0]

    def state_for_two(m: Any, x: Tensor) -> Any:
        return m.rnn(x, (m.h, m.c))

    def made_in_forward(m: Any, x: Tensor) -> Any:
        h = torch.ones(1, x.size(1), HIDDEN)
        return m.rnn(x, (h, h))

    cell_states = ("h:float32[batch,7]", "c:float32[batch,7]")
    return [
        *(
            ExportCase(f"PyTorch's test: {name}, bidirectional, without bias", biasless(name), (time_major,))
            for name in _LAYERS
        ),
        *(
            ExportCase(f"PyTorch's test: LSTMCell in a loop, bias={bias}", cell_loop(bias), (TIME_MAJOR, *cell_states))
            for bias in (True, False)
        ),
        ExportCase(
            "PyTorch's test: two LSTMs in sequence",
            lambda: Run(in_sequence, first=nn.LSTM(5, 8), second=nn.LSTM(8, HIDDEN)),
            (TIME_MAJOR,),
        ),
        ExportCase(
            "PyTorch's test: LSTM, states of a fixed batch as buffers",
            lambda: Run(
                state_for_two, rnn=nn.LSTM(5, HIDDEN), h=torch.randn(1, 2, HIDDEN), c=torch.randn(1, 2, HIDDEN)
            ),
            ("x:float32[time,2,5]",),
        ),
        ExportCase(
            "PyTorch's test: LSTM, states made in forward",
            lambda: Run(made_in_forward, rnn=nn.LSTM(5, HIDDEN)),
            (TIME_MAJOR,),
        ),
        ExportCase(
            "PyTorch's test: LSTM, projection, both directions",
            lambda: nn.LSTM(5, HIDDEN, proj_size=3, bidirectional=True),
            (time_major,),
        ),
    ]


PYTORCH_CASES = [
    _combination(name, depth, arrangement, bidirectional=bidirectional, with_states=with_states)
    for name, depth, bidirectional, with_states, arrangement in product(
        _LAYERS, _DEPTHS, (False, True), (False, True), _ARRANGEMENTS
    )
] + single_cases()
ALL_CASES = [*CASES, *PATTERN_CASES, *PYTORCH_CASES]
