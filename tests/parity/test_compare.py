"""How far two arrays are apart, and when that is too far."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rnnexport.bundle.manifest import Tolerance
from rnnexport.parity.compare import OWN_ERROR_FACTOR, Reference, compare, largest_difference, size_of

NUMBERS = st.floats(-1e6, 1e6, width=32)
ANYTHING = st.one_of(NUMBERS, st.sampled_from([math.nan, math.inf, -math.inf]))
TOLERANCE = Tolerance(atol=1e-5, rtol=1e-3)


def judged(actual: NDArray[Any], expected: NDArray[Any], float32_error: float = 0.0) -> Any:
    reference = Reference(expected.astype(np.float64), np.dtype(np.float64), float32_error)
    return compare("y", actual, reference, TOLERANCE)


@given(st.lists(ANYTHING, min_size=1, max_size=6))
def test_an_array_is_itself(values: list[float]) -> None:
    array = np.array(values)
    assert judged(array, array).passed
    assert largest_difference(array, array) == 0


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.data(), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_not_finite_is_infinitely_far_from_what_is(values: list[float], data: Any, wrong: float) -> None:
    finite = np.array(values)
    other = finite.copy()
    other[data.draw(st.integers(0, len(values) - 1))] = wrong
    for actual, expected in [(other, finite), (finite, other)]:
        assert not judged(actual, expected).passed
        assert not judged(actual, expected, float32_error=1.0).passed
        assert largest_difference(actual, expected) == math.inf


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.data(), st.floats(0, 10))
def test_the_worst_element_decides(values: list[float], data: Any, float32_error: float) -> None:
    expected = np.array(values)
    place = data.draw(st.integers(0, len(values) - 1))
    allowed = max(1e-5 + 1e-3 * abs(expected[place]), OWN_ERROR_FACTOR * float32_error)
    for factor, passes in [(0.99, True), (1.01, False)]:
        actual = expected.copy()
        actual[place] += factor * allowed
        comparison = judged(actual, expected, float32_error)
        assert comparison.passed is passes
        assert comparison.worst_index == (place,)
        assert comparison.max_abs_diff == pytest.approx(factor * allowed, rel=1e-3)


def test_shape_and_dtype_must_agree() -> None:
    zeros = np.zeros((2, 3))
    assert judged(np.zeros((3, 2)), zeros).reason == "is float64 [3, 2], not float64 [2, 3]"
    assert judged(zeros.astype(np.float32), zeros).reason == "is float32 [2, 3], not float64 [2, 3]"
    assert largest_difference(np.zeros((3, 2)), zeros) == math.inf
    assert judged(np.zeros((0, 3)), np.zeros((0, 3))).passed


@given(st.lists(ANYTHING, max_size=6))
def test_errors_are_relative_to_the_largest_finite_element(values: list[float]) -> None:
    assert size_of(np.array(values)) == max([1.0, *(abs(value) for value in values if math.isfinite(value))])
