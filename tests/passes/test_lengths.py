"""Nodes without lengths give what nodes with lengths should, in every runtime."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexport.passes.lengths import ExactLengths

ENGINES = ["onnxruntime", "openvino"]
LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=4)


def with_exact_lengths(model):
    return ir.to_proto(ExactLengths()(ir.from_proto(model)).model)


def assert_close(actual, expected):
    """float32 against float64 after at most 3 layers of 10 steps; a wrong length is off by 0.1 and more."""
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        scale = max(1.0, np.abs(expected[name]).max(initial=0.0))
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-6 * scale, err_msg=name)


@pytest.mark.parametrize("engine", ENGINES)
@given(
    data=st.data(),
    lengths=LENGTHS,
    longer_by=st.integers(0, 1),
    padding=st.sampled_from([0.0, float("nan"), float("inf"), -1e30]),
)
@settings(max_examples=100, deadline=None)
def test_against_the_operator_with_lengths(engine, stacks, load, data, lengths, longer_by, padding):
    stack = data.draw(stacks)
    feeds = stack.feeds(lengths, max(1, *lengths) + longer_by, padding)
    actual = load(with_exact_lengths(stack.model()), engine).run(feeds)
    assert_close(actual, stack.expected(feeds))
