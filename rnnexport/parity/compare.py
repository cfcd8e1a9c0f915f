"""How far is one array from another, and is it what it should be, up to float rounding?

Every judgement of the project goes through here; who asks chooses the tolerance.

An element passes at |actual - expected| <= max(atol + rtol * |expected|, 4 * float32_error), where float32_error is the
largest error that PyTorch's own float32 run makes on this output in any call, relative to the output's size. The second
term keeps a fixed tolerance from condemning PyTorch itself on large values; the first keeps outputs that happen to be
exact from demanding exactness.
Shape and dtype must agree always, and a value that is finite in the oracle must be finite. Where a NaN of the inputs
gets to in the oracle, any value passes: ONNX Runtime swallows it, others keep it.
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
    takes_nan: bool = False
    """Whether an input holds NaN. What becomes of it is up to the runtime, so nothing is wrong where it gets to."""


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
    difference = differences(actual, expected)
    if reference.takes_nan:
        difference = np.where(np.isnan(expected), 0.0, difference)
    allowed = allowed_differences(expected, tolerance, reference.float32_error)
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


def differences(actual: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float64]:
    """Return |actual - expected| of each element, for two arrays of one shape.

    It is 0 where both are NaN or the same infinity, and infinite where only one is finite.
    """
    a, b = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf, posinf=np.inf))


def allowed_differences(
    expected: NDArray[np.float64], tolerance: Tolerance, float32_error: float = 0.0
) -> NDArray[np.float64]:
    """Return what each element may differ by; where NaN or infinity is expected, nothing else is right."""
    bound = tolerance.atol + tolerance.rtol * np.abs(expected)
    bound = np.where(np.isfinite(bound), bound, tolerance.atol)
    return np.maximum(bound, OWN_ERROR_FACTOR * float32_error)


def largest_difference(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest of `differences`; infinity where the shapes differ."""
    return float(differences(actual, expected).max(initial=0)) if actual.shape == expected.shape else float("inf")


def size_of(expected: NDArray[Any]) -> float:
    """Return the largest magnitude of the finite elements, or 1 where that is less: what errors are relative to."""
    finite = np.abs(expected[np.isfinite(expected)])
    return max(1.0, float(finite.max(initial=0)))


def _describe(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"{dtype} {list(shape)}"
