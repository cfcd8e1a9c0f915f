"""The verdict on one output: is it what the oracle says, up to float rounding?

An element passes at |actual - expected| <= max(atol + rtol * |expected|, 4 * float32_error), where float32_error is the
largest error that PyTorch's own float32 run makes on this output in any call, relative to the output's size. The second
term keeps a fixed tolerance from condemning PyTorch itself on large values; the first keeps outputs that happen to be
exact from demanding exactness.
Shape and dtype must agree always, and a value that is finite in the oracle must be finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.bundle.manifest import Tolerance

OWN_ERROR_FACTOR = 4


@dataclass(frozen=True)
class Reference:
    """What one output should be."""

    expected: NDArray[np.float64]
    """The float64 oracle's values."""
    dtype: np.dtype[Any]
    """What the graph declares."""
    float32_error: float
    """Largest |PyTorch float32 - expected|, of all calls relative to their size; see `oracle`."""


class Comparison(BaseModel):
    """How one output of one call compares with the oracle."""

    output: str
    dtype: str
    """What the graph declares."""
    passed: bool
    max_abs_diff: float
    float32_error: float
    worst_index: tuple[int, ...] = ()
    """Position of the element that comes nearest to its limit, or exceeds it most."""
    worst_actual: float = 0.0
    worst_expected: float = 0.0
    reason: str | None = None
    """One sentence, where it did not pass."""

    @property
    def times_float32_error(self) -> float:
        """The error as a multiple of PyTorch float32's own."""
        return self.max_abs_diff / max(self.float32_error, float(np.finfo(np.float32).tiny))


def compare(output: str, actual: NDArray[Any], reference: Reference, tolerance: Tolerance) -> Comparison:
    """Judge `actual` against `reference`."""
    expected = reference.expected
    if actual.shape != expected.shape or actual.dtype != reference.dtype:
        return Comparison(
            output=output,
            dtype=str(reference.dtype),
            passed=False,
            max_abs_diff=float("inf"),
            float32_error=reference.float32_error,
            reason=f"is {_describe(actual.dtype, actual.shape)}, not {_describe(reference.dtype, expected.shape)}",
        )
    if actual.size == 0:
        return Comparison(
            output=output,
            dtype=str(reference.dtype),
            passed=True,
            max_abs_diff=0.0,
            float32_error=reference.float32_error,
        )
    difference = _difference(actual.astype(np.float64), expected)
    allowed = np.maximum(tolerance.atol + tolerance.rtol * np.abs(expected), OWN_ERROR_FACTOR * reference.float32_error)
    # A bound of 0 is met by 0 only; the smallest float keeps the ratio finite there.
    excess = np.where(difference == 0, 0.0, difference / np.maximum(allowed, np.finfo(np.float64).tiny))
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), excess.shape))
    passed = bool(excess[worst] <= 1)
    return Comparison(
        output=output,
        dtype=str(reference.dtype),
        passed=passed,
        max_abs_diff=float(difference.max()),
        float32_error=reference.float32_error,
        worst_index=worst,
        worst_actual=float(actual[worst]),
        worst_expected=float(expected[worst]),
        reason=None if passed else f"differs by {difference[worst]:.2g} > {float(allowed[worst]):.2g} at {list(worst)}",
    )


def _difference(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """|actual - expected|; infinite where exactly one is not finite or the two are not the same non-finite value."""
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.abs(actual - expected)
    difference[~np.isfinite(difference)] = np.inf
    return np.asarray(np.where(same, 0.0, difference))


def _describe(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"{dtype} {list(shape)}"
