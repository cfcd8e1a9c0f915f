"""Tiny ONNX models that know their answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from rnnexport.engines.contract import Definition
from tests.graphs import Graph


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_step(x, h, W, R, B):  # noqa: N803
    """ONNX order z, r, h; linear_before_reset=1; equations of the ONNX operator GRU."""
    Wz, Wr, Wh = np.split(W, 3)  # noqa: N806
    Rz, Rr, Rh = np.split(R, 3)  # noqa: N806
    Wbz, Wbr, Wbh, Rbz, Rbr, Rbh = np.split(B, 6)  # noqa: N806
    z = sigmoid(x @ Wz.T + h @ Rz.T + Wbz + Rbz)
    r = sigmoid(x @ Wr.T + h @ Rr.T + Wbr + Rbr)
    new = np.tanh(x @ Wh.T + r * (h @ Rh.T + Rbh) + Wbh)
    return (1 - z) * new + z * h


def lstm_step(x, h, c, W, R, B):  # noqa: N803
    """ONNX order i, o, f, c; equations of the ONNX operator LSTM."""
    gates = x @ W.T + h @ R.T + B[: len(W)] + B[len(W) :]
    i, o, f, new = np.split(gates, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
    return sigmoid(o) * np.tanh(c), c


class TinyModel:
    """A recurrent layer and a linear head, x [batch, time, I] → logits [batch, 2], random weights."""

    def __init__(self, cell: str, input_size: int, hidden_size: int, seed: int = 0) -> None:
        self.cell, self.input_size, self.hidden_size = cell, input_size, hidden_size
        random = np.random.default_rng(seed)
        gates = {"LSTM": 4, "GRU": 3}[cell] * hidden_size
        shapes = {"W": (1, gates, input_size), "R": (1, gates, hidden_size), "B": (1, 2 * gates), "M": (hidden_size, 2)}
        self.weights = {name: random.normal(0, 0.5, shape).astype("float32") for name, shape in shapes.items()}

    def save(self, path: Path) -> Path:
        g = Graph()
        attributes: dict[str, Any] = {"linear_before_reset": 1} if self.cell == "GRU" else {}
        w, r, b, m = (g.constant(array) for array in self.weights.values())
        x = g.op("Transpose", "x", perm=[1, 0, 2])
        _, h = g.op(self.cell, x, w, r, b, outputs=["", "h"], hidden_size=self.hidden_size, **attributes)
        g.op("MatMul", g.with_axes("Squeeze", h, 0), m, outputs=["logits"])
        onnx.save(g.model({"x": ["batch", "time", self.input_size]}, {"logits": ["batch", 2]}), path)
        return path

    def expected(self, x):
        """Logits [B, 2] in float64."""
        weights = {name: value.astype("float64") for name, value in self.weights.items()}
        layer = [weights["W"][0], weights["R"][0], weights["B"][0]]
        h = c = np.zeros((len(x), self.hidden_size))
        for t in range(x.shape[1]):
            if self.cell == "LSTM":
                h, c = lstm_step(x[:, t], h, c, *layer)
            else:
                h = gru_step(x[:, t], h, *layer)
        return h @ weights["M"]


@pytest.fixture(scope="session")
def gru(tmp_path_factory) -> tuple[TinyModel, Path]:
    model = TinyModel("GRU", input_size=3, hidden_size=5)
    return model, model.save(tmp_path_factory.mktemp("models") / "gru.onnx")


@pytest.fixture
def add_model(tmp_path) -> Path:
    """Sum = a + b, where no declared shape shows that the two must fit."""
    g = Graph()
    g.op("Add", "a", "b", outputs=["sum"])
    onnx.save(g.model({"a": ["m"], "b": ["n"]}, {"sum": ["k"]}), tmp_path / "add.onnx")
    return tmp_path / "add.onnx"


@pytest.fixture
def tiny_model() -> type[TinyModel]:
    return TinyModel


@pytest.fixture
def define() -> Callable[..., Definition]:
    def define(engine: str, precision: str = "float32", **keys) -> Definition:
        return Definition(name="mine", engine=engine, precision=precision, **keys)

    return define
