"""Decoders that are fed their own output, as people write them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TOKENS = ["tokens:int64[batch,time]"]


class Translator(nn.Module):
    """LSTM encoder, LSTM decoder with attention over the encoder's outputs; its forward is the whole loop."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.source, self.target = nn.Embedding(30, 8), nn.Embedding(20, 8)
        self.rnn, self.decoder = nn.LSTM(8, 16, batch_first=True), nn.LSTM(24, 16, batch_first=True)
        self.head = nn.Linear(32, 20)
        for weight in self.parameters():  # so that what is decoded does not settle on one token
            weight.data *= 2.5

    def encode(self, tokens: Tensor) -> tuple[Any, Tensor]:
        """Return the state and the memory."""
        memory, state = self.rnn(self.source(tokens))
        return state, memory

    def decode_step(self, token: Tensor, state: Any, memory: Tensor) -> tuple[Tensor, Any]:
        """Return the logits of the next token and the new state."""
        weights = torch.softmax((memory * state[0][-1][:, None]).sum(-1), -1)
        context = (weights[..., None] * memory).sum(1, keepdim=True)
        y, state = self.decoder(torch.cat([self.target(token)[:, None], context], -1), state)
        return self.head(torch.cat([y, context], -1))[:, 0], state

    def forward(self, tokens: Tensor) -> Tensor:
        """Decode until every row has given the token 2, 12 steps at most."""
        state, memory = self.encode(tokens)
        token, decoded = torch.full((len(tokens),), 1), []
        while len(decoded) < 12 and not (token == 2).all():
            logits, state = self.decode_step(token, state, memory)
            token = logits.argmax(-1)
            decoded.append(token)
        return torch.stack(decoded, 1)


class Captioner(nn.Module):
    """GRU cell over a picture's features; lengths go to the encoder and to the step, states and more by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.project, self.words = nn.Linear(6, 12), nn.Embedding(15, 8)
        self.cell, self.head = nn.GRUCell(20, 12), nn.Linear(12, 15)
        for weight in self.parameters():
            weight.data *= 3

    def encode(self, regions: Tensor, counts: Tensor) -> dict[str, Tensor]:
        """Return the regions and the first state by name."""
        keys = torch.tanh(self.project(regions))
        used = torch.arange(regions.shape[1]) < counts[:, None]
        return {"keys": keys, "h": (keys * used[..., None]).sum(1) / counts[:, None]}

    def decode_step(self, word: Tensor, h: Tensor, keys: Tensor, counts: Tensor) -> dict[str, Tensor]:
        """Return the logits, the attention and the new state by name."""
        scores = (keys @ h[..., None])[..., 0]
        scores = scores.masked_fill(torch.arange(keys.shape[1]) >= counts[:, None], -1e9)
        weights = scores.softmax(-1)
        h = self.cell(torch.cat([self.words(word[:, 0]), (weights[..., None] * keys).sum(1)], -1), h)
        return {"logits": self.head(h)[:, None], "attention": weights, "h": h}


class Speaker(nn.Module):
    """Frames from frames, with a gate that says when to stop: two LSTM cells in a list of pairs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.characters, self.rnn = nn.Embedding(12, 8), nn.GRU(8, 10, batch_first=True, bidirectional=True)
        self.prenet, self.first, self.second = nn.Linear(4, 6), nn.LSTMCell(26, 10), nn.LSTMCell(10, 10)
        self.mel, self.gate = nn.Linear(10, 4), nn.Linear(10, 1)

    def encode(self, text: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Return the states of both cells and the memory."""
        memory = self.rnn(self.characters(text))[0]
        zeros = memory.new_zeros(memory.shape[0], 10)
        return [(zeros, zeros), (zeros, zeros)], memory

    def decode_step(self, frame: Tensor, states: list[Any], memory: Tensor) -> dict[str, Any]:
        """Return the next frame, the gate and the new states."""
        first = self.first(torch.cat([torch.relu(self.prenet(frame[:, 0])), memory.mean(1)], -1), states[0])
        second = self.second(first[0], states[1])
        return {"mel": self.mel(second[0])[:, None], "gate": self.gate(second[0]), "states": [first, second]}
