"""An engine of another kind: it reads a bundle's source model, a GRU of one layer, and needs only NumPy."""

import numpy as np
from safetensors.numpy import load_file

from rnnexport.engines.contract import Availability, TensorSpec, check_feeds


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class NumpySession:
    inputs = (
        TensorSpec("x", np.dtype("float32"), ("batch", "time", 12)),
        TensorSpec("lengths", np.dtype("int64"), ("batch",)),
    )
    outputs = (TensorSpec("logits", np.dtype("float32"), ("batch", 9)),)

    def __init__(self, weights):
        self.weights = weights

    def run(self, feeds):
        check_feeds(self.inputs, feeds)
        w = self.weights
        x = (feeds["x"] - w["mean"]) / w["std"]
        h = np.zeros((len(x), len(w["head.weight"][0])), np.float32)
        for t in range(x.shape[1]):
            r, z, n = np.split(x[:, t] @ w["rnn.weight_ih_l0"].T + w["rnn.bias_ih_l0"], 3, axis=1)
            h_r, h_z, h_n = np.split(h @ w["rnn.weight_hh_l0"].T + w["rnn.bias_hh_l0"], 3, axis=1)
            update = sigmoid(z + h_z)
            new = (1 - update) * np.tanh(n + sigmoid(r + h_r) * h_n) + update * h
            h = np.where(t < feeds["lengths"][:, None], new, h)
        return {"logits": h @ w["head.weight"].T + w["head.bias"]}

    def bind(self, feeds):
        return lambda: self.run(feeds)

    def close(self):
        pass


class NumpyEngine:
    name = "numpy"
    reads_source = True

    def available(self, definition):
        return Availability(True, np.__version__)

    def check_options(self, definition):
        pass

    def load(self, model, definition):
        assert model.name == "model.json"
        return NumpySession(load_file(model.with_name("weights.safetensors")))
