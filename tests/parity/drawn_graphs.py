"""Small graphs of the kinds of operators that stand beside recurrent layers in other people's files."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

KINDS = ("conv-norm-lstm", "conv-transpose", "attention", "resize-conv", "gru-norm", "lengths-peepholes", "scan")
CHANNELS, HIDDEN = 4, 6


class Drawn:
    """Nodes in a row, with drawn weights."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant((self.generator.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32))

    def positive(self, *shape: int) -> str:
        return self.constant(self.generator.uniform(0.5, 2, shape).astype(np.float32))

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        output = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"the {output}", **attributes))
        return output

    def norm(self, x: str, channels: int, mean: float = 0.0) -> str:
        means = self.constant(np.full(channels, mean, np.float32))
        parameters = [self.positive(channels), self.weight(channels), means, self.positive(channels)]
        return self.node("BatchNormalization", x, *parameters)

    def lstm(self, x: str, size: int, *rest: str, **attributes: Any) -> str:
        weights = self.weight(1, 4 * HIDDEN, size), self.weight(1, 4 * HIDDEN, HIDDEN), self.weight(1, 8 * HIDDEN)
        return self.node("LSTM", x, *weights, *rest, hidden_size=HIDDEN, **attributes)

    def gru(self, x: str, size: int) -> str:
        weights = self.weight(1, 3 * HIDDEN, size), self.weight(1, 3 * HIDDEN, HIDDEN), self.weight(1, 6 * HIDDEN)
        return self.node("GRU", x, *weights, hidden_size=HIDDEN, linear_before_reset=self.generator.integers(2))

    def time_major(self, x: str) -> str:
        """[batch, channels, time] → [time, batch, channels]."""
        return self.node("Transpose", x, perm=[2, 0, 1])


def graph(kind: str, seed: int = 0, opset: int = 15) -> onnx.ModelProto:
    """A graph of x [batch, channels, time], and of lengths where it has them."""
    drawn = Drawn(seed)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", CHANNELS, "time"])]
    match kind:
        case "conv-norm-lstm":
            conv = drawn.node("Conv", "x", drawn.weight(8, CHANNELS, 3), drawn.weight(8), pads=[1, 1])
            conv = drawn.node("Conv", conv, drawn.weight(8, 1, 3), group=8, strides=[2], pads=[1, 1])
            y = drawn.lstm(drawn.time_major(drawn.norm(conv, 8, mean=10.0)), 8)
        case "conv-transpose":
            weight, bias = drawn.weight(CHANNELS, 3, 4), drawn.weight(6)
            y = drawn.node("ConvTranspose", "x", weight, bias, group=2, strides=[2], pads=[1, 1])
            y = drawn.gru(drawn.time_major(drawn.node("Relu", y)), 6)
        case "attention":
            x = drawn.node("Transpose", "x", perm=[0, 2, 1])
            q, k, v = (drawn.node("MatMul", x, drawn.weight(CHANNELS, HIDDEN)) for _ in range(3))
            scores = drawn.node("MatMul", q, drawn.node("Transpose", k, perm=[0, 2, 1]))
            scores = drawn.node("Div", scores, drawn.constant(np.float32(np.sqrt(HIDDEN))))
            mixed = drawn.node("MatMul", drawn.node("Softmax", scores, axis=-1), v)
            y = drawn.lstm(drawn.node("Transpose", mixed, perm=[1, 0, 2]), HIDDEN)
        case "resize-conv":
            scales = drawn.constant(np.array([1, 1, 2], np.float32))
            y = drawn.node("Resize", "x", "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
            y = drawn.node("Conv", y, drawn.weight(8, CHANNELS // 2, 3), group=2, dilations=[2], pads=[2, 2])
            y = drawn.gru(drawn.time_major(drawn.node("AveragePool", y, kernel_shape=[2], strides=[2])), 8)
        case "gru-norm":
            y = drawn.node("Squeeze", drawn.gru(drawn.time_major("x"), CHANNELS), drawn.constant(np.array([1])))
            mean = drawn.node("ReduceMean", y, axes=[-1])
            centred = drawn.node("Sub", y, mean)
            squares = drawn.node("ReduceMean", drawn.node("Mul", centred, centred), axes=[-1])
            deviation = drawn.node("Sqrt", drawn.node("Add", squares, drawn.constant(np.float32(1e-5))))
            y = drawn.node("Div", centred, deviation)
        case "norm-peepholes":
            conv = drawn.node("Conv", "x", drawn.weight(8, CHANNELS, 3), drawn.weight(8), pads=[1, 1])
            x = drawn.time_major(drawn.norm(conv, 8, mean=10.0))
            y = drawn.lstm(x, 8, "", "", "", drawn.weight(1, 3 * HIDDEN))
        case "lengths-peepholes":
            inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
            y = drawn.lstm(drawn.time_major("x"), CHANNELS, "lengths", "", "", drawn.weight(1, 3 * HIDDEN))
        case _:
            y = _scan(drawn)
    output = helper.make_tensor_value_info(y, TensorProto.FLOAT, None)
    made = helper.make_graph(drawn.nodes, kind, inputs, [output], drawn.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _scan(drawn: Drawn) -> str:
    """H ← tanh(x W + h R), in the body of a Scan whose weights stand outside it."""
    w, r = drawn.weight(CHANNELS, HIDDEN), drawn.weight(HIDDEN, HIDDEN)
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["x_t", w], ["from x"]),
            helper.make_node("MatMul", ["h", r], ["from h"]),
            helper.make_node("Add", ["from x", "from h"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["h_t"]),
            helper.make_node("Identity", ["h_t"], ["y_t"]),
        ],
        "cell",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("h", "x_t")],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("h_t", "y_t")],
    )
    x = drawn.time_major("x")
    start = drawn.node("MatMul", drawn.node("ReduceMean", "x", axes=[2], keepdims=0), drawn.weight(CHANNELS, HIDDEN))
    drawn.nodes.append(
        helper.make_node("Scan", [start, x], ["h_n", "y"], name="the scan", body=body, num_scan_inputs=1)
    )
    return "y"


def feeds(model: onnx.ModelProto, batch_size: int = 3, time_steps: int = 9, seed: int = 0) -> dict[str, NDArray[Any]]:
    """One call."""
    generator = np.random.default_rng(seed)
    given: dict[str, NDArray[Any]] = {"x": generator.standard_normal((batch_size, CHANNELS, time_steps), np.float32)}
    if len(model.graph.input) > 1:
        given["lengths"] = generator.integers(1, time_steps + 1, batch_size).astype(np.int32)
    return given
