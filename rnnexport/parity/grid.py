"""The calls at which a model is judged: other batch sizes, lengths and shapes than the traced one.

1. Batch 1, one time step, both at once; odd sizes; lengths that differ within a batch, 1 and full among them.
2. The calls run one after another on one session, so a shape that returns finds what the earlier ones left behind.
3. Features come from the bundle's own series where it has any, else from a normal distribution.
4. What stands on padded steps must not matter, so it is drawn large, and NaN once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle import Bundle, TensorInfo
from rnnexport.engines.contract import Feeds

BATCH, TIME = "batch", "time"


@dataclass(frozen=True)
class Case:
    """One call."""

    name: str
    feeds: Feeds


@dataclass(frozen=True)
class CaseShape:
    """What distinguishes one call from the next."""

    batch_size: int
    time_steps: int
    padding_value: float = 0.0
    from_series: bool = False
    mixed_lengths: bool = True

    @property
    def name(self) -> str:
        """Such as `batch=3 time=12, own series, padding nan`."""
        own = ", own series" if self.from_series else ""
        padding = f", padding {self.padding_value:g}" if self.padding_value != 0 else ""
        return f"batch={self.batch_size} time={self.time_steps}{own}{padding}"


GRID = (
    CaseShape(3, 12, padding_value=1e3),
    CaseShape(1, 1),
    CaseShape(1, 29, from_series=True),
    CaseShape(8, 29, padding_value=float("nan"), from_series=True),
    CaseShape(2, 1),
    CaseShape(5, 64),
    CaseShape(1, 200),
    CaseShape(17, 7, padding_value=-1e5),
    CaseShape(3, 12, padding_value=1e3),
)


def draw_cases(bundle: Bundle, shapes: Sequence[CaseShape] = GRID, seed: int = 0) -> list[Case]:
    """Draw the feeds of every call in `shapes`; the same seed draws the same feeds."""
    generator = np.random.default_rng(seed)
    return [Case(shape.name, draw_feeds(bundle, shape, generator)) for shape in shapes]


def draw_feeds(bundle: Bundle, shape: CaseShape, generator: np.random.Generator) -> Feeds:
    """Draw one call's inputs as the manifest declares them."""
    inputs = bundle.manifest.inputs
    lengths = _draw_lengths(shape, generator)
    with_lengths = any(info.role == "lengths" for info in inputs)
    series = bundle.evaluation.series if bundle.evaluation else []
    feeds: dict[str, NDArray[Any]] = {}
    for info in inputs:
        if info.role == "lengths":
            feeds[info.name] = lengths.astype(info.dtype)
        elif info.role == "features" and shape.from_series and series:
            feeds[info.name] = _take_series(series, shape, generator).astype(info.dtype)
        else:
            feeds[info.name] = _draw_values(info, shape, generator)
        if with_lengths and info.role == "features" and info.shape[:2] == (BATCH, TIME):
            feeds[info.name][_is_padding(lengths, shape.time_steps)] = shape.padding_value
    return feeds


def _draw_lengths(shape: CaseShape, generator: np.random.Generator) -> NDArray[np.int64]:
    """Lengths in 1 … time_steps, with the full length and 1 among them as far as the batch has room."""
    if not shape.mixed_lengths:
        return np.full(shape.batch_size, shape.time_steps)
    lengths = generator.integers(1, shape.time_steps + 1, size=shape.batch_size)
    lengths[0] = shape.time_steps
    if shape.batch_size > 2:
        lengths[1] = 1
    return generator.permutation(lengths)


def _is_padding(lengths: NDArray[np.int64], time_steps: int) -> NDArray[np.bool_]:
    return np.asarray(np.arange(time_steps)[None, :] >= lengths[:, None])


def _take_series(
    series: Sequence[NDArray[np.float32]], shape: CaseShape, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Series of the bundle, each repeated until it fills the time axis: [batch, time, features]."""
    chosen = generator.integers(len(series), size=shape.batch_size)
    return np.stack([np.resize(series[i], (shape.time_steps, series[i].shape[1])) for i in chosen])


def _draw_values(info: TensorInfo, shape: CaseShape, generator: np.random.Generator) -> NDArray[Any]:
    sizes = [_size(dimension, shape) for dimension in info.shape]
    if np.issubdtype(np.dtype(info.dtype), np.floating):
        return generator.standard_normal(sizes).astype(info.dtype)
    return generator.integers(info.upper_bound or 2, size=sizes).astype(info.dtype)


def _size(dimension: int | str, shape: CaseShape) -> int:
    if isinstance(dimension, int):
        return dimension
    return shape.batch_size if dimension == BATCH else shape.time_steps
