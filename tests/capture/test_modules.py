"""Modules as people write them run in every runtime as they do in PyTorch, at sizes that were not traced."""

import pytest
import torch
from torch import nn

from rnnexport.models.cells import ResetBeforeGRU

TOKENS, SERIES = "tokens:int64[batch,time]", "x:float32[batch,time,5]"


class Tagger(nn.Module):
    """Embedding → GRU → head on every step."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 6)
        self.rnn = nn.GRU(6, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens):
        return self.head(self.rnn(self.embedding(tokens))[0])


class ConvThenLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(5, 6, 3, padding=1)
        self.rnn = nn.LSTM(6, 8, batch_first=True)

    def forward(self, x):
        return self.rnn(torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))[0]


class Attention(nn.Module):
    """RNN → softmax attention over time → head."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 8, batch_first=True)
        self.score, self.head = nn.Linear(8, 1), nn.Linear(8, 2)

    def forward(self, x):
        y, _ = self.rnn(x)
        weights = torch.softmax(self.score(y), dim=1)
        return {"logits": self.head((weights * y).sum(1)), "attention": weights.squeeze(-1)}


class Residual(nn.Module):
    """Two RNNs in sequence, time-major, with a skip connection and normalisation."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.GRU(5, 8), nn.LSTM(8, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        y, _ = self.first(x.transpose(0, 1))
        return self.norm(y + self.second(y)[0])


class Translator(nn.Module):
    """Encoder-decoder with teacher forcing: the decoder starts from the encoder's state."""

    def __init__(self):
        super().__init__()
        self.source, self.target = nn.Embedding(10, 4), nn.Embedding(10, 6)
        self.encoder, self.decoder = nn.LSTM(4, 8, batch_first=True), nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, tokens, target):
        _, state = self.encoder(self.source(tokens))
        return self.head(self.decoder(self.target(target), state)[0])


class LastState(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(5, 8, num_layers=2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[1][-1])


class FlattenedHead(nn.Module):
    """`y.reshape(batch * time, -1)`, which freezes time in PyTorch's own exporter."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x):
        y = self.rnn(x)[0]
        return self.head(y.reshape(x.shape[0] * x.shape[1], -1)).view(x.shape[0], x.shape[1], 2)


class LearnedState(nn.Module):
    """Initial states that are parameters and buffers, expanded to the batch."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 8, batch_first=True)
        self.h_0 = nn.Parameter(torch.randn(1, 1, 8))
        self.register_buffer("c_0", torch.randn(1, 1, 8))

    def forward(self, x):
        return self.rnn(x, (self.h_0.expand(-1, x.shape[0], -1).contiguous(), self.c_0.repeat(1, x.shape[0], 1)))[0]


class Shared(nn.Module):
    """One RNN called twice, and a subclass of nn.LSTM."""

    class Doubled(nn.LSTM):
        """Its own forward, which calls its parent's."""

        def forward(self, input, hx=None):
            return super().forward(2 * input, hx)

    def __init__(self):
        super().__init__()
        self.rnn = self.Doubled(5, 5, batch_first=True)

    def forward(self, x):
        return self.rnn(self.rnn(x)[0])[0]


class OneStep(nn.Module):
    """A cell called once: the step of a streaming model."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LSTMCell(5, 8), nn.GRUCell(8, 4)

    def forward(self, x, h, c):
        h, c = self.first(x, (h, c))
        return self.second(h), h, c


class WeightNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.utils.parametrizations.weight_norm(nn.GRU(5, 8, batch_first=True), "weight_hh_l0")

    def forward(self, x):
        return self.rnn(x)[0]


class NestedOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 8, batch_first=True)

    def forward(self, x):
        return self.rnn(x)


class ResetBefore(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = ResetBeforeGRU(5, 8, 2, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.rnn(x)


TABLE = {
    Tagger: ([TOKENS], ["GRU"]),
    ConvThenLSTM: ([SERIES], ["LSTM"]),
    Attention: ([SERIES], ["LSTM"]),
    Residual: ([SERIES], ["GRU", "LSTM"]),
    Translator: ([TOKENS, "target:int64[batch,time]"], ["LSTM", "LSTM"]),
    LastState: ([SERIES], ["GRU", "GRU"]),
    FlattenedHead: ([SERIES], ["LSTM"]),
    LearnedState: ([SERIES], ["LSTM"]),
    Shared: ([SERIES], ["LSTM", "LSTM"]),
    OneStep: (["x:float32[batch,5]", "h:float32[batch,8]", "c:float32[batch,8]"], ["LSTM", "GRU"]),
    WeightNorm: ([SERIES], ["GRU"]),
    NestedOutputs: ([SERIES], ["LSTM"]),
    ResetBefore: ([SERIES], ["GRU", "GRU"]),
}


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_runs_as_in_pytorch_with_one_node_per_layer(check, ops, kind):
    inputs, recurrent = TABLE[kind]
    captured = check(kind().eval(), *inputs)
    assert [op for op in ops(captured) if op in ("LSTM", "GRU", "Loop", "Scan")] == recurrent


def test_different_lengths_of_source_and_target_need_different_names(check):
    captured = check(Translator().eval(), TOKENS, "target:int64[batch,5]", engines=["onnxruntime"])
    assert [str(d) for d in captured.model.graph.outputs[0].shape] == ["batch", "5", "10"]


def test_dictionary_keys_become_output_names(check):
    captured = check(Attention().eval(), SERIES, engines=["onnxruntime"])
    assert [value.name for value in captured.model.graph.outputs] == ["logits", "attention"]


def test_nodes_bear_the_path_of_their_module(check):
    graph = check(nn.ModuleDict({"encoder": Tagger()})["encoder"].eval(), TOKENS, engines=["onnxruntime"]).model.graph
    assert [node.name for node in graph if node.op_type in ("GRU", "MatMul")] == ["rnn.layer0", "head.MatMul"]
    assert {"embedding.weight", "rnn.layer0.W", "head.bias"} <= set(graph.initializers)
