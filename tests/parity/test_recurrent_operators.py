"""The float64 operators are the ones that PyTorch and ONNX Runtime compute."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.errors import InputError, UnknownNameError
from rnnexport.parity.recurrent_operators import evaluate, evaluate_gru, evaluate_lstm
from tests.graphs import GATES, Graph

ONNX_ORDER = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2]}  # of PyTorch's i, f, g, o and r, z, n
INPUTS = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]


def onnx_weights(layer, kind):
    """[D, G·H, …] in ONNX's gate order."""
    order = ONNX_ORDER[type(layer).__name__]
    suffixes = ["_l0", "_l0_reverse"][: 1 + layer.bidirectional]
    tensors = [getattr(layer, kind + suffix).detach().numpy() for suffix in suffixes]
    return np.stack([np.concatenate([np.split(w, len(order))[gate] for gate in order]) for w in tensors])


@given(
    cell=st.sampled_from(["LSTM", "GRU"]),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6)),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    padding=st.sampled_from([0.0, float("nan"), 1e30]),
)
def test_against_torch_on_packed_sequences(cell, bidirectional, bias, sizes, lengths, padding):
    torch.manual_seed(len(lengths))
    layer = getattr(torch.nn, cell)(*sizes, bias=bias, bidirectional=bidirectional, dtype=torch.float64)
    x = torch.randn(max(lengths), len(lengths), sizes[0], dtype=torch.float64)
    states = [torch.randn(1 + bidirectional, len(lengths), sizes[1], dtype=torch.float64) for _ in cell[2:]]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, final = layer(packed, tuple(states) if cell == "LSTM" else states[0])
    expected_y = torch.nn.utils.rnn.pad_packed_sequence(y)[0].detach().numpy()

    for row, length in enumerate(lengths):
        x[length:, row] = padding
    b = np.concatenate([onnx_weights(layer, "bias_ih"), onnx_weights(layer, "bias_hh")], axis=1) if bias else None
    weights = onnx_weights(layer, "weight_ih"), onnx_weights(layer, "weight_hh"), b
    attributes: dict[str, Any] = {"direction": "bidirectional"} if bidirectional else {}
    if cell == "GRU":
        attributes["linear_before_reset"] = 1
    inputs = [x.numpy(), *weights, lengths, *(state.numpy() for state in states)][: 7 if cell == "LSTM" else 6]
    actual_y, *actual_final = evaluate(cell, inputs, **attributes)

    assert np.concatenate(list(actual_y.swapaxes(0, 1)), axis=-1) == pytest.approx(expected_y, abs=1e-12)
    for actual, expected in zip(actual_final, final if cell == "LSTM" else [final], strict=True):
        assert actual == pytest.approx(expected.detach().numpy(), abs=1e-12)


def draw_inputs(op_type, directions, time=6, batch=3, inputs=4, hidden=5, peepholes=False):
    """The node's inputs from a fixed seed; lengths are unsorted and hold 1 and the full length."""
    generator = np.random.default_rng(7)
    gates = GATES[op_type]
    shapes = [(time, batch, inputs), (directions, gates * hidden, inputs), (directions, gates * hidden, hidden)]
    arrays = [generator.standard_normal(shape).astype(np.float32) * 0.7 for shape in shapes]
    arrays.append(generator.standard_normal((directions, 2 * gates * hidden)).astype(np.float32))
    arrays.append(np.array([time, 1, 3], np.int32))
    states = 2 if op_type == "LSTM" else 1
    arrays += [generator.standard_normal((directions, batch, hidden)).astype(np.float32) for _ in range(states)]
    return [*arrays, generator.standard_normal((directions, 3 * hidden)).astype(np.float32)] if peepholes else arrays


def run_in_onnxruntime(path, op_type, inputs, attributes):
    feeds = dict(zip(INPUTS, inputs, strict=False))
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op_type == "LSTM" else 2]
    g = Graph()
    g.op(op_type, *feeds, outputs=outputs, hidden_size=5, **attributes)
    shapes = {name: array.shape for name, array in feeds.items()}, dict.fromkeys(outputs)
    onnx.save(g.model(*shapes, {name: array.dtype for name, array in feeds.items()}), path)
    definition = Definition(name="test", engine="onnxruntime", precision="float32", threads=1)
    session = get_engine("onnxruntime").load(path, definition)
    return list(session.run(feeds).values())


DEVIATIONS_FROM_TORCH = [
    ("LSTM", {"clip": 0.7}),
    ("LSTM", {"input_forget": 1}),
    ("LSTM", {"activations": ["HardSigmoid", "LeakyRelu", "Elu"], "activation_alpha": [0.3, 0.05, 0.7]}),
    ("LSTM", {"activations": ["Sigmoid", "Softsign", "Softplus"]}),
    ("LSTM", {"activations": ["Sigmoid", "ThresholdedRelu", "Tanh"], "activation_alpha": [0.3]}),
    (
        "LSTM",
        {
            "activations": ["sigmoid", "scaledtanh", "affine"],
            "activation_alpha": [1.2, 0.5],
            "activation_beta": [0.8, 0.1],
        },
    ),
    ("GRU", {"linear_before_reset": 0}),
    ("GRU", {"linear_before_reset": 1, "clip": 0.5}),
    ("GRU", {"activations": ["HardSigmoid", "Relu"], "activation_beta": [0.4]}),
    ("RNN", {}),
    ("RNN", {"clip": 0.8, "activations": ["Relu"]}),
]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op_type", "attributes"), DEVIATIONS_FROM_TORCH)
def test_against_onnxruntime_on_what_torch_lacks(op_type, attributes, direction, tmp_path):
    directions = 2 if direction == "bidirectional" else 1
    attributes = {**attributes, "direction": direction}
    for name in ("activations", "activation_alpha", "activation_beta"):
        if name in attributes:
            attributes[name] = attributes[name] * directions
    inputs = draw_inputs(op_type, directions)
    actual = evaluate(op_type, inputs, hidden_size=5, **attributes)
    expected = run_in_onnxruntime(tmp_path / "node.onnx", op_type, inputs, attributes)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-6)  # float32 at states of magnitude 3


@pytest.mark.parametrize("coupled", [0, 1])
def test_against_onnxruntime_on_peepholes(coupled, tmp_path):
    inputs = draw_inputs("LSTM", 2, peepholes=True)
    attributes = {"direction": "bidirectional", "input_forget": coupled}
    expected = run_in_onnxruntime(tmp_path / "node.onnx", "LSTM", inputs, attributes)
    for ours, theirs in zip(evaluate("LSTM", inputs, **attributes), expected, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-6)


def test_row_of_length_zero_keeps_its_state():
    x, w, r, b, _, h, c = draw_inputs("LSTM", 2)
    y, y_h, y_c = evaluate_lstm(x, w, r, b, [6, 0, 3], h, c, direction="bidirectional")
    assert np.array_equal(y[:, :, 1], np.zeros_like(y[:, :, 1]))
    assert np.array_equal(y_h[:, 1], h[:, 1])
    assert np.array_equal(y_c[:, 1], c[:, 1])


@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
def test_layout_1_puts_the_batch_first(op_type):
    x, w, r, b, lengths, *states = draw_inputs(op_type, 2)
    y, *final = evaluate(op_type, [x, w, r, b, lengths, *states], direction="bidirectional")
    swapped = [x.swapaxes(0, 1), w, r, b, lengths, *(state.swapaxes(0, 1) for state in states)]
    y_1, *final_1 = evaluate(op_type, swapped, direction="bidirectional", layout=1)
    assert np.array_equal(y_1, y.transpose(2, 0, 1, 3))
    assert all(np.array_equal(b, a.swapaxes(0, 1)) for a, b in zip(final, final_1, strict=True))


def test_missing_bias_and_state_are_zero():
    x, w, r, b, *_ = draw_inputs("GRU", 1)
    explicit = evaluate_gru(x, w, r, 0 * b, [6, 6, 6], np.zeros((1, 3, 5)))
    assert np.array_equal(evaluate_gru(x, w, r)[0], explicit[0])


@pytest.mark.parametrize(
    ("op_type", "attributes", "message"),
    [
        ("LSTN", {}, r"recurrent operator 'LSTN' is unknown; did you mean 'LSTM'\?"),
        ("LSTM", {"hidden_size": 6}, "hidden_size is 6, but R is made for 5"),
        ("LSTM", {"direction": "bidirectional"}, "'bidirectional' needs weights of 2 directions, R has 1"),
        ("LSTM", {"activations": ["Sigmoid", "Tanj", "Tanh"]}, r"activation 'tanj' is unknown; did you mean 'tanh'\?"),
        (
            "LSTM",
            {"activations": ["Sigmoid", "ScaledTanh", "Tanh"]},
            "'scaledtanh' has no default; give activation_alpha",
        ),
    ],
)
def test_refuses_what_the_specification_does_not_know(op_type, attributes, message):
    inputs = draw_inputs("LSTM", 1)
    with pytest.raises(UnknownNameError if "unknown" in message else InputError, match=message):
        evaluate(op_type, inputs, **attributes)
