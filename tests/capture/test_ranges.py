"""The sizes that a module takes are found by trying it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rnnexport.capture import parse_input_spec
from rnnexport.capture.inputs import SizeRange
from rnnexport.capture.ranges import find_ranges
from rnnexport.errors import ExportError


class Calls(nn.Module):
    """forward is the function given."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def ranges(function, *inputs):
    specs = [parse_input_spec(text) for text in inputs or ["x:float32[batch,time,4]"]]
    return find_ranges(Calls(function), specs)


@settings(max_examples=15, deadline=None)
@given(minimum=st.integers(1, 3000), step=st.sampled_from([1, 2, 4, 8]))
def test_finds_the_smallest_size_and_the_step(minimum, step):
    minimum = -(-minimum // step) * step

    def forward(x):
        assert x.shape[1] >= minimum
        return x.reshape(x.shape[0], -1, step * 4)

    assert ranges(forward) == {"batch": SizeRange(), "time": SizeRange(minimum, step)}


def test_a_module_that_takes_everything():
    assert ranges(lambda x: x * 2) == {"batch": SizeRange(), "time": SizeRange()}


def test_what_is_stated_is_believed_and_must_work():
    assert ranges(lambda x: x * 2, "x:float32[batch,time%160==0]")["time"] == SizeRange(160, 160)
    with pytest.raises(ExportError, match="forward fails at every size that was tried, at last with batch=2, time=3"):
        ranges(lambda x: x.reshape(5, -1), "x:float32[batch>=2,time>=3,4]")


def test_a_size_of_its_own_only():
    def forward(x):
        assert x.shape[1] == 7
        return x

    with pytest.raises(ExportError, match="works at time=7, but at none of the next 64 sizes"):
        ranges(forward)


def test_a_module_that_fails_by_itself_names_its_line():
    def forward(x):
        return x @ torch.ones(5, 2)

    with pytest.raises(ExportError, match=rf"test_ranges.py:{forward.__code__.co_firstlineno + 1}: forward fails at"):
        ranges(forward)
