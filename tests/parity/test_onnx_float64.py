"""A graph in float64 is what the module in float64 is; lengths and sub-graphs count."""

import copy

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnexport.capture import capture, parse_input_spec
from rnnexport.errors import InputError
from rnnexport.parity.onnx_float64 import Float64Model
from tests.graphs import Graph


class Model(nn.Module):
    """Embedding → packed recurrent layer → norm → head."""

    def __init__(self, kind, layers, bidirectional):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.rnn = kind(4, 6, layers, batch_first=True, bidirectional=bidirectional)
        size = 12 if bidirectional else 6
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, 3)

    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=tokens.shape[1])
        return torch.softmax(self.head(self.norm(y)), -1)


@settings(max_examples=settings.default.max_examples // 10, derandomize=True)
@given(kind=st.sampled_from([nn.LSTM, nn.GRU]), layers=st.integers(1, 3), bidirectional=st.booleans())
def test_is_the_module_in_float64(kind, layers, bidirectional, tmp_path_factory):
    torch.manual_seed(layers)
    module = Model(kind, layers, bidirectional).eval()
    path = tmp_path_factory.mktemp("m") / "model.onnx"
    specs = [parse_input_spec("tokens:int64[batch,time]"), parse_input_spec("lengths:int64[batch]")]
    ir.save(capture(module, specs).model, path)
    tokens, lengths = np.random.default_rng(0).integers(0, 10, (3, 7)), np.array([2, 7, 4])
    (actual,) = Float64Model(path).run({"tokens": tokens, "lengths": lengths}).values()
    with torch.no_grad():
        expected = copy.deepcopy(module).double()(torch.from_numpy(tokens), torch.from_numpy(lengths))
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, atol=1e-13)


def test_values_inside_the_graph_can_be_asked_for(tmp_path):
    ir.save(capture(nn.GRU(5, 8), [parse_input_spec("input:float32[time,batch,5]")]).model, tmp_path / "m.onnx")
    model = Float64Model(tmp_path / "m.onnx", ["gru.layer0.Y"])
    results = model.run({"input": np.ones((4, 2, 5), np.float32)})
    assert results["gru.layer0.Y"].shape == (4, 1, 2, 8)


def test_what_cannot_be_evaluated_is_said(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"m\.onnx cannot be evaluated in float64"):
        Float64Model(tmp_path / "m.onnx")
    ir.save(capture(nn.GRU(5, 8), [parse_input_spec("input:float32[time,batch,5]")]).model, tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"cannot be evaluated with input \[4, 2, 3\]"):
        Float64Model(tmp_path / "m.onnx").run({"input": np.ones((4, 2, 3), np.float32)})


@pytest.mark.parametrize(
    ("op_type", "constants", "attributes", "says"),
    [
        ("Pad", [[3, 0]], {"mode": "reflect"}, "it reflects 3 of 3 elements along axis 0"),
        ("Split", [[1, 1]], {}, r"it splits 3 elements into \[1, 1\]"),
        ("TopK", [[4]], {}, "it takes the first 4 of 3 elements"),
    ],
)
def test_what_no_runtime_takes_is_outside_of_the_domain(op_type, constants, attributes, says):
    g, outputs = Graph(), ["y"] if op_type == "Pad" else ["y", "z"]
    g.op(op_type, "x", *(g.constant(each, np.int64) for each in constants), outputs=outputs, **attributes)
    reference = Float64Model(g.model({"x": ["n"]}, {"y": None}))
    assert reference.run({"x": np.arange(5.0 if op_type != "Split" else 2.0, dtype=np.float32)})
    with pytest.raises(InputError, match=f"{op_type} 'n0' fails: ValueError: {says}"):
        reference.run({"x": np.arange(3, dtype=np.float32)})
