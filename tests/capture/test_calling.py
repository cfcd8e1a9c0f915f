"""Inputs as forward takes them and outputs as it returns them: classes, lists, dictionaries, `None`."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnexport.capture import call_module, capture, parse_input_spec
from rnnexport.errors import ExportError, InputError

SERIES = "x:float32[batch,time,5]"


class Tuple(NamedTuple):
    y: Tensor
    extra: Tensor | None = None


@dataclasses.dataclass
class Record:
    y: Tensor
    extra: Tensor | None = None


class Run(nn.Module):
    """A GRU behind a function of the module and its input."""

    def __init__(self, function):
        super().__init__()
        self.rnn = nn.GRU(5, 8, batch_first=True)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


RESULTS = {
    "a named tuple": (lambda m, x: Tuple(*m.rnn(x)), ["y", "extra"]),
    "a dataclass": (lambda m, x: Record(*m.rnn(x)), ["y", "extra"]),
    "None in a tuple": (lambda m, x: (m.rnn(x)[0], None), ["output_0"]),
    "None in a dictionary": (lambda m, x: {"loss": None, "y": m.rnn(x)[0]}, ["y"]),
    "None in a dataclass": (lambda m, x: Record(m.rnn(x)[0]), ["y"]),
    "nested lists": (lambda m, x: [m.rnn(x)[0], [{"a": [x * 2]}]], ["output_0", "output_1_0_a_0"]),
    "an input": (lambda m, x: (x, m.rnn(x)[0]), ["output_0", "output_1"]),
    "one tensor twice": (lambda m, x: dict.fromkeys("ab", m.rnn(x)[0]), ["a", "b"]),
    "the name of an input": (lambda m, x: {"x": m.rnn(x)[0]}, ["output_x"]),
    "a size and a text": (lambda m, x: {"y": m.rnn(x)[0], "steps": x.size(1), "kind": "gru"}, ["y"]),
}


@pytest.mark.parametrize(("forward", "names"), RESULTS.values(), ids=RESULTS.keys())
def test_results_of_every_kind(forward, names):
    captured = capture(Run(forward), [parse_input_spec(SERIES)])
    assert [value.name for value in captured.model.graph.outputs] == names


@pytest.mark.parametrize("result", ["one tensor twice", "an input"])
def test_results_run_like_the_module(result, run_like):
    module, spec = Run(RESULTS[result][0]), parse_input_spec(SERIES)
    captured = capture(module, [spec])
    run_like(module, captured, [spec], ["onnxruntime", "openvino"], sizes=[(1, 1), (3, 7)])


@pytest.mark.parametrize("left_out", ["loss, kind", "output_1"])
def test_what_is_no_tensor_is_named(left_out):
    results = {"loss, kind": {"loss": None, "kind": "gru"}, "output_1": None}
    given = results[left_out]
    module = Run(lambda m, x: {"y": m.rnn(x)[0]} | given if given else (m.rnn(x)[0], None))
    notes = capture(module, [parse_input_spec(SERIES)]).notes
    assert f"forward also returns {left_out}, no tensor, which the graph does not give" in notes


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: None, "returns no tensor"),
        (lambda m, x: pack_padded_sequence(x, torch.full((x.size(0),), x.size(1))), "returns a PackedSequence"),
        (lambda m, x: {"a_b": x, "a": {"b": x}}, "two tensors under the name 'a_b'"),
    ],
)
def test_results_that_no_graph_gives_are_refused(forward, reason):
    with pytest.raises(ExportError, match=reason):
        capture(Run(forward), [parse_input_spec(SERIES)])


class TakesTuple(Run):
    def forward(self, batch: Tuple):
        assert isinstance(batch, Tuple)
        return self.rnn(batch.y * batch.extra)[0]


class TakesRecord(Run):
    def forward(self, batch: "Record | None"):
        assert isinstance(batch, Record)
        return self.rnn(batch.y * batch.extra)[0]


class TakesList(Run):
    def forward(self, parts: list[Tensor]):
        assert isinstance(parts, list)
        return self.rnn(parts[0] * parts[1])[0]


class TakesKeywords(Run):
    def forward(self, **parts):
        return self.rnn(parts["y"] * parts["extra"])[0]


class TakesKeywordOnly(Run):
    def forward(self, y, *, extra=None):
        return self.rnn(y * extra)[0]


class TakesAttributes(Run):
    def forward(self, batch):
        return self.rnn(batch.y * batch["extra"])[0]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (TakesTuple, ("batch.y", "batch.extra")),
        (TakesTuple, ("batch.0", "batch.1")),
        (TakesRecord, ("batch.y", "batch.extra")),
        (TakesList, ("parts.0", "parts.1")),
        (TakesKeywords, ("y", "extra")),
        (TakesKeywordOnly, ("y", "extra")),
        (TakesAttributes, ("batch.y", "batch.extra")),
    ],
)
def test_inputs_of_every_kind(kind, names):
    module = kind(None)
    specs = [parse_input_spec(f"{name}:float32[batch,time,5]") for name in names]
    y, extra = torch.randn(2, 3, 4, 5)
    expected = module.rnn(y * extra)[0].detach()
    np.testing.assert_array_equal(call_module(module, specs, [y, extra])[0], expected)
    assert [value.name for value in capture(module, specs).model.graph.inputs] == list(names)


def test_a_field_that_is_not_given_is_named():
    specs = [parse_input_spec("batch.extra:float32[batch,time,5]")]
    with pytest.raises(InputError, match="do not make a Record"):
        capture(TakesRecord(None), specs)
