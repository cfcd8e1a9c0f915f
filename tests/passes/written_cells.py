"""Builds models whose LSTM or GRU is written out, in the ways that people and exporters write it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.graphs import Graph

BATCH = 2
GATES = {"lstm": "ifgo", "gru": "rzn", "gru_before": "rzn"}


@dataclass(frozen=True)
class Written:
    """How a layer is written."""

    cell: str = "lstm"
    layers: int = 1
    inputs: int = 3
    hidden: int = 4
    steps: int = 3
    bias: bool = True
    products: str = "apart"
    """`together` on [x, h], `apart` for x and h, `gates` for each gate, or `ahead`: x for all steps at once."""
    parts: str = "Split"
    """How gates, and time steps, are taken from what they are part of."""
    gemm: bool = False
    update: str = "1-z"
    """How a GRU's new state is written."""
    activation_first: bool = False
    """One Sigmoid over several gates."""
    start: str = "zeros"
    time_axis: int = 1
    reverse: bool = False
    results: tuple = ("all", "last")
    opset: int = 17
    seed: int = 0

    def model(self, change=None):
        """Map x [B, T, I] (or [T, B, I]) to y, the h of all steps stacked like x, and the last h and c."""
        g, generator = Graph(self.opset), np.random.default_rng(self.seed)
        batch_first = self.time_axis == 1
        x_shape: list[int | str] = (
            ["batch", self.steps, self.inputs] if batch_first else [self.steps, "batch", self.inputs]
        )
        inputs, outputs = {"x": x_shape}, dict[str, list[int | str]]()
        xs = self.time_steps(g)
        order = range(self.steps)[::-1] if self.reverse else range(self.steps)
        for layer in range(self.layers):
            size = self.inputs if layer == 0 else self.hidden
            weights = self.weights(g, generator, size)
            if layer == 0 and self.products == "ahead":
                xs = self.projected(g, weights)
            h, c = (self.start_state(g, f"{letter}{layer}", inputs) for letter in "hc")
            results, kept = {}, []
            for t in order:
                used = self.weights(g, generator, size) if change == "weights" and t == 1 else weights
                x = g.op("Add", xs[t], h) if change == "feedback" else xs[t]
                h, c = self.step(g, x, h, c, used, change)
                results[t] = h
                kept.append(c)
            xs = [results[t] for t in range(self.steps)]
        if "all" in self.results:
            y = g.op("Concat", *(g.with_axes("Unsqueeze", h, self.time_axis) for h in xs), axis=self.time_axis)
            g.nodes.append(helper.make_node("Tanh", [y], ["y"]))
            outputs["y"] = [*x_shape[:2], self.hidden]
        if "some" in self.results:
            g.nodes.append(helper.make_node("Neg", [xs[self.steps // 2]], ["middle"]))
            outputs["middle"] = ["batch", self.hidden]
        if change == "inner c":
            g.nodes.append(helper.make_node("Neg", [kept[0]], ["inner_c"]))
            outputs["inner_c"] = ["batch", self.hidden]
        if "last" in self.results:
            for name, value in (("h_n", h), ("c_n", c))[: 2 if self.cell == "lstm" else 1]:
                next(n for n in g.nodes if value in n.output).output[0] = name
                for node in g.nodes:
                    node.input[:] = [name if each == value else each for each in node.input]
                outputs[name] = ["batch", self.hidden]
        return g.model(inputs, outputs)

    def projected(self, g, weights):
        """What x adds to each gate, computed for all steps at once."""
        w, _, b_x, _ = (np.concatenate(each, axis=-1) for each in zip(*weights.values(), strict=True))
        total = g.op("Add", g.op("MatMul", "x", g.constant(w)), g.constant(b_x))
        return [dict(zip(weights, self.columns(g, x, len(weights)), strict=True)) for x in self.time_steps(g, total)]

    def from_x(self, g, x, weights, gate):
        return x[gate] if isinstance(x, dict) else self.product(g, x, weights[gate][0], weights[gate][2])

    def time_steps(self, g, whole="x"):
        if self.parts == "Split":
            each = g.split(whole, [1] * self.steps, self.time_axis) if self.steps > 1 else [whole]
            return [g.with_axes("Squeeze", value, self.time_axis) for value in each]
        if self.parts == "Gather":
            return [g.op("Gather", whole, g.constant(t, np.int64), axis=self.time_axis) for t in range(self.steps)]
        limits = [[g.constant([n], np.int64) for n in (t, t + 1, self.time_axis)] for t in range(self.steps)]
        return [g.with_axes("Squeeze", g.op("Slice", whole, *each), self.time_axis) for each in limits]

    def start_state(self, g, name, inputs):
        if self.start == "inputs":
            if name[0] == "h" or self.cell == "lstm":
                inputs[name] = ["batch", self.hidden]
            return name
        if self.start == "constant":
            return g.constant(np.zeros((BATCH, self.hidden)))
        size = g.op("Gather", g.op("Shape", "x"), g.constant([1 - self.time_axis], np.int64))
        return g.op("ConstantOfShape", g.op("Concat", size, g.constant([self.hidden], np.int64), axis=0))

    def weights(self, g, generator, size):
        """For each gate W [n, H], R [H, H] and the two biases, as arrays."""

        def draw(*shape):
            return generator.normal(scale=0.6, size=shape).astype(np.float32)

        zero = np.zeros(self.hidden, np.float32)
        return {
            gate: (draw(size, self.hidden), draw(self.hidden, self.hidden),
                   *((draw(self.hidden), draw(self.hidden)) if self.bias else (zero, zero)))
            for gate in GATES[self.cell]
        }  # fmt: skip

    def product(self, g, value, matrix, bias):
        """Value · matrix + bias."""
        if self.gemm:
            added = [g.constant(bias)] if self.bias else []
            return g.op("Gemm", value, g.constant(matrix.T), *added, transB=1)
        result = g.op("MatMul", value, g.op("Transpose", g.constant(matrix.T)) if self.seed % 2 else g.constant(matrix))
        return g.op("Add", g.constant(bias), result) if self.bias else result

    def gates(self, g, x, h, weights, names):
        """The sums that go into the activations of some gates."""
        chosen = [weights[name] for name in names]
        if self.products == "gates" or isinstance(x, dict):
            return [
                g.op("Add", self.from_x(g, x, weights, name), self.product(g, h, r, b_h))
                for name, (_, r, _, b_h) in zip(names, chosen, strict=True)
            ]
        w, r, b_x, b_h = (np.concatenate(each, axis=-1) for each in zip(*chosen, strict=True))
        if self.products == "together":
            total = self.product(g, g.op("Concat", x, h, axis=1), np.concatenate([w, r]), b_x + b_h)
        else:
            total = g.op("Add", self.product(g, h, r, b_h), self.product(g, x, w, b_x))
        return [total] if self.activation_first else self.columns(g, total, len(names))

    def columns(self, g, value, count):
        size = self.hidden
        if count == 1:
            return [value]
        if self.parts == "Split":
            return g.split(value, [size] * count, -1)
        if self.parts == "Gather":
            return [
                g.op("Gather", value, g.constant(range(size * n, size * (n + 1)), np.int64), axis=1)
                for n in range(count)
            ]
        limits = [[g.constant([number], np.int64) for number in (size * n, size * (n + 1), -1)] for n in range(count)]
        return [g.op("Slice", value, *each) for each in limits]

    def sigmoids(self, g, x, h, weights, names):
        sums = self.gates(g, x, h, weights, names)
        opened = [g.op("Sigmoid", each) for each in sums]
        return self.columns(g, opened[0], len(names)) if len(opened) < len(names) else opened

    def step(self, g, x, h, c, weights, change):
        if self.cell == "lstm":
            return self.lstm(g, x, h, c, weights, change)
        return self.gru(g, x, h, weights, change), c

    def lstm(self, g, x, h, c, weights, change):
        i, f, o = self.sigmoids(g, x, h, weights, "ifo")
        (candidate,) = self.gates(g, x, h, weights, "g")
        if change == "normalised":
            candidate = g.op("LayerNormalization", candidate, g.constant(np.full(self.hidden, 0.5)))
        if change == "coupled":
            f = g.op("Sub", g.constant(1), i)
        n = g.op("Softsign" if change == "activation" else "Tanh", candidate)
        c = g.op("Add", g.op("Mul", c, f), g.op("Mul", i, n))
        return g.op("Mul", o, g.op("Sigmoid" if change == "no tanh" else "Tanh", c)), c

    def gru(self, g, x, h, weights, change):
        r, z = self.sigmoids(g, x, h, weights, "rz")
        w, rec, b_x, b_h = weights["n"]
        if self.cell == "gru_before":
            scaled = g.op("Mul", r, h)
            if self.products == "together":
                total = self.product(g, g.op("Concat", x, scaled, axis=-1), np.concatenate([w, rec]), b_x + b_h)
            else:
                total = g.op("Add", self.from_x(g, x, weights, "n"), self.product(g, scaled, rec, b_h))
        else:
            total = g.op("Add", self.from_x(g, x, weights, "n"), g.op("Mul", self.product(g, h, rec, b_h), r))
        if change == "normalised":
            total = g.op("LayerNormalization", total, g.constant(np.full(self.hidden, 0.5)))
        n = g.op("Softsign" if change == "activation" else "Tanh", total)
        if change == "coupled":
            return g.op("Add", g.op("Mul", r, n), g.op("Mul", z, h))
        if self.update == "1-z":
            return g.op("Add", g.op("Mul", g.op("Sub", g.constant(1), z), n), g.op("Mul", z, h))
        if self.update == "difference":
            return g.op("Add", g.op("Mul", g.op("Sub", h, n), z), n)
        if self.update == "swapped":
            return g.op("Add", h, g.op("Mul", z, g.op("Sub", n, h)))
        return g.op("Add", g.op("Sub", h, g.op("Mul", z, h)), g.op("Mul", z, n))

    def feeds(self, model):
        generator = np.random.default_rng(self.seed)
        shapes = [[d.dim_value or BATCH for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
        draw = (generator.normal(size=shape).astype(np.float32) for shape in shapes)
        return dict(zip([v.name for v in model.graph.input], draw, strict=True))


WRITTEN = st.builds(
    Written,
    cell=st.sampled_from(list(GATES)),
    layers=st.integers(1, 2),
    inputs=st.integers(1, 4),
    hidden=st.integers(1, 5),
    steps=st.integers(1, 4),
    bias=st.booleans(),
    products=st.sampled_from(["together", "apart", "gates", "ahead"]),
    parts=st.sampled_from(["Split", "Slice", "Gather"]),
    gemm=st.booleans(),
    update=st.sampled_from(["1-z", "difference", "swapped", "expanded"]),
    activation_first=st.booleans(),
    start=st.sampled_from(["zeros", "inputs", "constant"]),
    time_axis=st.integers(0, 1),
    reverse=st.booleans(),
    results=st.sampled_from([("all", "last"), ("all",), ("last",), ("some", "last"), ("some", "all")]),
    opset=st.sampled_from([11, 13, 17, 18]),
    seed=st.integers(0, 99),
)


def scan_model(written, change=None, axis=0, direction=0):
    """Map x [T, B, I] (time at `axis`), h0 and c0 to y, h_n and c_n by a Scan whose body is one written step."""
    outer, body = Graph(written.opset), Graph(written.opset)
    generator = np.random.default_rng(written.seed)
    weights = written.weights(body, generator, written.inputs)
    h, c = written.step(body, "x_t", "h", "c", weights, change)
    states = [("h", h), ("c", c)][: 2 if written.cell == "lstm" else 1]
    shapes = {"x_t": ["batch", written.inputs]} | {name: ["batch", written.hidden] for name, _ in states}
    shown = body.op("Tanh" if change == "more" else "Identity", h)

    state_shape = ["batch", written.hidden]
    step = body.proto(
        {name: shapes[name] for name in [*(name for name, _ in states), "x_t"]},
        dict.fromkeys([*(new for _, new in states), shown], state_shape),
    )
    x_shape, y_shape = (["time", "batch"] for _ in "xy")
    for shape, size in ((x_shape, written.inputs), (y_shape, written.hidden)):
        shape[:] = ["batch", "time", size] if axis else ["time", "batch", size]
    names = [name for name, _ in states]
    attributes: dict[str, Any] = {"scan_input_axes": [axis], "scan_output_axes": [axis]}
    attributes |= {"scan_input_directions": [direction], "scan_output_directions": [direction]}
    scan = helper.make_node(
        "Scan", [*(f"{n}_0" for n in names), "x"], [*(f"{n}_n" for n in names), "y"], "scan", num_scan_inputs=1,
        body=step, **attributes,
    )  # fmt: skip
    outer.nodes.append(scan)
    return outer.model(
        {"x": x_shape} | {f"{n}_0": state_shape for n in names},
        {"y": y_shape} | {f"{n}_n": state_shape for n in names},
    )
