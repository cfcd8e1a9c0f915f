"""Draws stacks of recurrent nodes, writes them as ONNX and says what they should give."""

from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from hypothesis import strategies as st
from onnx import TensorProto

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.parity.recurrent_operators import evaluate
from tests.graphs import GATES, Graph


@dataclass(frozen=True)
class Stack:
    """Layers of one kind: X [time, batch, inputs] → Y_n and, for each layer k, Y_h.k (and Y_c.k)."""

    op_type: str
    direction: str = "forward"
    layers: int = 1
    inputs: int = 3
    hidden: int = 4
    bias: bool = True
    states: bool = False
    outputs: tuple[str, ...] = ("Y", "Y_h", "Y_c")
    lengths_type: type = np.int32
    opset: int = 17
    attributes: dict = field(default_factory=dict)
    seed: int = 0

    @property
    def directions(self):
        return 2 if self.direction == "bidirectional" else 1

    @property
    def state_names(self):
        return ["initial_h", "initial_c"] if self.op_type == "LSTM" else ["initial_h"]

    def weights(self, layer):
        """W, R and B of a layer, as Xavier would draw them, somewhat larger."""
        generator = np.random.default_rng([self.seed, layer])
        rows = GATES[self.op_type] * self.hidden
        columns = self.inputs if layer == 0 else self.directions * self.hidden
        w = generator.normal(scale=columns**-0.5, size=(self.directions, rows, columns))
        r = generator.normal(scale=self.hidden**-0.5, size=(self.directions, rows, self.hidden))
        b = generator.normal(scale=0.5, size=(self.directions, 2 * rows))
        return [array.astype(np.float32) for array in ((w, r, b) if self.bias else (w, r))]

    def all_attributes(self):
        return {"hidden_size": self.hidden, "direction": self.direction, **self.attributes}

    def output_names(self, layer):
        """Of the last layer Y; of every layer the final states."""
        kinds = [kind for kind in self.outputs if kind != "Y" or layer == self.layers - 1]
        return [kind for kind in kinds if kind != "Y_c" or self.op_type == "LSTM"]

    def feeds(self, lengths, time, padding=0.0):
        """X with `padding` past each length, the lengths, and random initial states."""
        generator = np.random.default_rng([self.seed, len(lengths), time])
        x = generator.standard_normal((time, len(lengths), self.inputs)).astype(np.float32)
        for row, length in enumerate(lengths):
            x[length:, row] = padding
        feeds = {"X": x, "lengths": np.array(lengths, self.lengths_type)}
        if self.states:
            shape = (self.directions, len(lengths), self.hidden)
            for layer in range(self.layers):
                for name in self.state_names:
                    feeds[f"{name}.{layer}"] = generator.standard_normal(shape).astype(np.float32)
        return feeds

    def expected(self, feeds):
        """All outputs by the float64 evaluator, one node after the other."""
        x, expected = feeds["X"], {}
        for layer in range(self.layers):
            weights = [*self.weights(layer), *([] if self.bias else [None])]
            states = [feeds.get(f"{name}.{layer}") for name in self.state_names]
            results = evaluate(self.op_type, [x, *weights, feeds["lengths"], *states], **self.all_attributes())
            named = dict(zip(("Y", "Y_h", "Y_c"), results, strict=False))
            expected |= {f"{name}.{layer}": named[name] for name in self.output_names(layer)}
            x = np.concatenate(list(results[0].swapaxes(0, 1)), axis=-1)
        return expected

    def model(self):
        """The ONNX model with `sequence_lens`; batch and time are dynamic."""
        g, value, cast = Graph(self.opset), "X", "lengths"
        if self.lengths_type != np.int32:
            cast = g.op("Cast", "lengths", outputs=["lengths_int32"], to=TensorProto.INT32)
        for layer in range(self.layers):
            names = [f"{kind}.{layer}" for kind in "WRB"[: 3 if self.bias else 2]]
            for array, name in zip(self.weights(layer), names, strict=True):
                g.constant(array, name=name)
            inputs = [value, *names, *([] if self.bias else [""]), cast]
            inputs += [f"{name}.{layer}" for name in self.state_names] if self.states else []
            outputs = [f"{kind}.{layer}" for kind in ("Y", "Y_h", "Y_c")[: 3 if self.op_type == "LSTM" else 2]]
            g.op(self.op_type, *inputs, outputs=outputs, name=f"rnn.{layer}", **self.all_attributes())
            if layer < self.layers - 1:
                value = self.join(g, f"Y.{layer}", f"X.{layer + 1}")
        g.constant([1], np.int64, "direction_axis")
        types = {"lengths": self.lengths_type}
        return g.model(self.input_shapes(), self.output_shapes(), types)

    def join(self, g, y, x):
        """Y [T, D, B, H] → X [T, B, D·H], as exporters write it."""
        if self.directions == 1:
            return g.with_axes("Squeeze", y, 1, outputs=[x])
        by_batch = g.op("Transpose", y, perm=[0, 2, 1, 3])
        return g.op("Reshape", by_batch, g.constant([0, 0, -1], np.int64), outputs=[x])

    def input_shapes(self):
        shape = [self.directions, "batch", self.hidden]
        names = [f"{name}.{layer}" for layer in range(self.layers) for name in self.state_names]
        shapes = {"X": ["time", "batch", self.inputs], "lengths": ["batch"]}
        return shapes | (dict.fromkeys(names, shape) if self.states else {})

    def output_shapes(self):
        state = [self.directions, "batch", self.hidden]
        shapes = {"Y": ["time", self.directions, "batch", self.hidden], "Y_h": state, "Y_c": state}
        return {f"{n}.{layer}": shapes[n] for layer in range(self.layers) for n in self.output_names(layer)}


@pytest.fixture(scope="session")
def stack():
    return Stack


@pytest.fixture(scope="session")
def stacks():
    """A strategy that draws stacks of the two cells."""
    forms = st.sampled_from([("LSTM", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {"linear_before_reset": 0})])
    return st.builds(
        lambda form, **fields: Stack(form[0], attributes=form[1], **fields),
        form=forms,
        direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
        layers=st.integers(1, 3),
        inputs=st.integers(1, 4),
        hidden=st.integers(1, 6),
        bias=st.booleans(),
        states=st.booleans(),
        outputs=st.sampled_from([("Y", "Y_h", "Y_c"), ("Y",), ("Y_h",), ("Y_c", "Y_h"), ("Y", "Y_h")]),
        lengths_type=st.sampled_from([np.int32, np.int64]),
        opset=st.sampled_from([11, 13, 17, 22]),
        seed=st.integers(0, 99),
    )


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    """Check a model and load it in an engine, in float32 on one thread."""

    def load(model, engine):
        onnx.checker.check_model(model, full_check=True)
        path = tmp_path_factory.mktemp("model") / "model.onnx"
        onnx.save(model, path)
        definition = Definition(name="test", engine=engine, precision="float32", threads=1)
        return get_engine(engine).load(path, definition)

    return load
