"""Capturing changes nothing but the answer: not the module, not PyTorch, not the next capture."""

import copy

import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.nn.utils import rnn

from rnnexport.capture import capture, parse_input_spec
from rnnexport.errors import ExportError

SPECS = [parse_input_spec("x:float32[batch,time,5]"), parse_input_spec("lengths:int64[batch]")]


class Classifier(nn.Module):
    def __init__(self, fails=False):
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": nn.LSTM(5, 4, 2, batch_first=True, dropout=0.5)})
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(4, 2)
        self.fails, self.calls = fails, 0

    def forward(self, x, lengths):
        self.last_input = x
        if self.fails and x.sum() > 0:
            return x
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.dropout(self.encoder["rnn"](packed)[1][0][-1]))


def serialized(captured):
    return ir.to_proto(captured.model).SerializeToString(deterministic=True)


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_and_pytorch_are_as_before(fails):
    module = Classifier(fails).train()
    module.head.eval()
    before, state = dict(module.__dict__), copy.deepcopy(module.state_dict())
    functions = [nn.LSTM.forward, nn.GRU.forward, nn.LSTMCell.forward, rnn.pack_padded_sequence.__code__]
    if fails:
        with pytest.raises(ExportError):
            capture(module, SPECS)
    else:
        capture(module, SPECS)
    assert module.__dict__ == before
    assert [child.training for child in module.modules()] == [True, True, True, True, False]
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert functions == [nn.LSTM.forward, nn.GRU.forward, nn.LSTMCell.forward, rnn.pack_padded_sequence.__code__]


def test_a_module_made_in_inference_mode_is_captured_and_keeps_its_tensors():
    torch.manual_seed(0)
    with torch.inference_mode():
        module = Classifier().eval()
    before = dict(module.named_parameters())
    captured = capture(module, SPECS)
    assert dict(module.named_parameters()) == before
    torch.manual_seed(0)
    assert serialized(captured) == serialized(capture(Classifier().eval(), SPECS))


@pytest.mark.slow
def test_training_mode_is_exported_as_evaluation_with_a_note():
    module = Classifier().train()
    captured = capture(module, SPECS)
    assert "the module was in training mode; it is exported in evaluation mode" in captured.notes
    assert "Dropout" not in [node.op_type for node in captured.model.graph]
    assert serialized(captured) == serialized(capture(module.eval(), SPECS))


def test_what_a_forward_keeps_is_named():
    notes = capture(Classifier().eval(), SPECS).notes
    assert notes == ["forward sets last_input, which the graph does not keep between calls"]


@pytest.mark.slow
def test_later_captures_are_the_first_byte_for_byte():
    module = Classifier().eval()
    first = serialized(capture(module, SPECS))
    assert serialized(capture(module, SPECS)) == first
    capture(nn.LSTM(5, 4), [parse_input_spec("input:float32[time,batch,5]")])
    assert serialized(capture(module, SPECS)) == first


def test_no_trace_of_the_machine():
    model = ir.to_proto(capture(Classifier().eval(), SPECS).model)
    del model.graph.initializer[:]
    text = str(model)
    assert "/" not in text
    assert "torch" not in text
