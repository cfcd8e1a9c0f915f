"""The calls at which a model is judged: other batch sizes, lengths and shapes than the traced one.

1. Batch 1, one time step, both at once; odd sizes; lengths that differ within a batch, 1 and full among them.
2. The calls run one after another on one session, so a shape that returns finds what the earlier ones left behind.
3. Features are the bundle's own series, or drawn with their mean and deviation; where it has none, with those that the
   model's own first normalisation tells, else from a standard normal distribution.
4. What stands on padded steps must not matter, so it is drawn large, and NaN once.
5. Some calls are stress: inputs that are large, so that gates saturate; denormal; or one constant, with states of 0.
   Initial states, where the model takes any, are never large, since no model makes such. The own error of float32 is
   taken for each of these kinds apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.manifest import Scale, TensorInfo
from rnnexport.engines.contract import Feeds
from rnnexport.parity.options import GridName

Values = Literal["normal", "large", "denormal", "constant"]
_SCALES: dict[Values, float] = {"normal": 1.0, "large": 1e3, "denormal": 1e-39, "constant": 0.0}
_CONSTANT = 0.5
_GIVEN = ("the given inputs", "their first row", "call ")
"""How names of calls begin that a user gave."""


@dataclass(frozen=True)
class Case:
    """One call."""

    name: str
    feeds: Feeds

    @property
    def values(self) -> Values:
        """The kind of inputs, which the name tells."""
        return values_of(self.name)


def values_of(name: str) -> Values:
    """The kind of inputs of a call; all but `normal` are stress."""
    return next((kind for kind in get_args(Values) if f", {kind} inputs" in name), "normal")


@dataclass(frozen=True)
class CaseShape:
    """What distinguishes one call from the next."""

    batch_size: int
    time_steps: int
    padding_value: float = 0.0
    from_series: bool = False
    mixed_lengths: bool = True
    sorted_lengths: bool = False
    """The longest series first, as `pack_padded_sequence` wants them by default."""
    leading_flags: bool = False
    """Flags are true on the first steps of each row, at least one, as in a mask of valid steps; else anywhere."""
    values: Values = "normal"
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Sizes of symbolic dimensions, where they are not those of the batch and of time."""

    @property
    def name(self) -> str:
        """Such as `batch=3 time=12, padding nan`."""
        padding = f", padding {self.padding_value:g}" if self.padding_value != 0 and self.mixed_lengths else ""
        values = "" if self.values == "normal" else f", {self.values} inputs (stress)"
        return f"batch={self.batch_size} time={self.time_steps}{padding}{values}"


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

OTHER_VALUES = tuple(CaseShape(3, 12, values=values) for values in get_args(Values)[1:])

GRIDS: dict[GridName, tuple[CaseShape, ...]] = {
    "quick": GRID[:3],
    "default": GRID + OTHER_VALUES,
    "full": (
        *GRID,
        *(CaseShape(batch, time) for batch in (1, 2, 7, 33) for time in (2, 13, 128, 400)),
        *(CaseShape(b, t, values=v) for b, t in ((1, 1), (3, 12), (9, 100)) for v in get_args(Values)[1:]),
        GRID[0],
    ),
}

STREAM_GRID = (CaseShape(1, 29, from_series=True, mixed_lengths=False), CaseShape(4, 50, mixed_lengths=False))
"""Added where there is a step graph: whole series, to be fed in chunks."""


def grid_shapes(grid: GridName, *, streaming: bool) -> tuple[CaseShape, ...]:
    """The calls at which a model is judged, `streaming` where it has a step graph."""
    return GRIDS[grid] + STREAM_GRID if streaming else GRIDS[grid]


def draw_cases(
    inputs: Sequence[TensorInfo],
    series: Sequence[NDArray[np.float32]],
    shapes: Sequence[CaseShape] = GRID,
    seed: int = 0,
) -> list[Case]:
    """Draw the feeds of every call in `shapes`; the same seed draws the same feeds.

    `series` are the model's own, each [time, features]; none will do.
    """
    generator = np.random.default_rng(seed)
    return [Case(shape.name, draw_feeds(inputs, series, shape, generator)) for shape in shapes]


def draw_feeds(
    inputs: Sequence[TensorInfo],
    series: Sequence[NDArray[np.float32]],
    shape: CaseShape,
    generator: np.random.Generator,
) -> Feeds:
    """Draw one call's inputs as the manifest declares them."""
    sizes = symbol_sizes(inputs, shape)
    feeds: dict[str, NDArray[Any]] = {}
    for info in inputs:
        if info.role == "lengths":
            feeds[info.name] = _draw_lengths(info, sizes, shape, generator)
        elif info.role == "features" and shape.from_series and takes(info, series):
            feeds[info.name] = _take_series(series, shape, generator).astype(info.dtype)
        elif shape.leading_flags and info.dtype == "bool" and info.shape:
            feeds[info.name] = _draw_leading_flags(info, sizes, shape, generator)
        else:
            feeds[info.name] = _draw_values(info, sizes, shape.values, generator, series)
    for lengths in inputs:
        if lengths.role == "lengths":
            for info in inputs:
                if info.role == "features":
                    _fill_padding(feeds[info.name], info, feeds[lengths.name], lengths, shape.padding_value)
    return feeds


def symbol_sizes(inputs: Sequence[TensorInfo], shape: CaseShape) -> dict[str, int]:
    """Give every symbolic dimension a size.

    Every dimension that is not the batch's is taken for time, and a second one, such as the target's in an
    encoder-decoder, gets another size.
    """
    symbols = list(dict.fromkeys(d for info in inputs for d in info.shape if isinstance(d, str)))
    batch = {info.batch_dimension for info in inputs}
    times = [symbol for symbol in symbols if symbol not in batch]
    return (
        dict.fromkeys(symbols, shape.batch_size)
        | {symbol: shape.time_steps + number for number, symbol in enumerate(times)}
        | dict(shape.sizes)
    )


def _draw_lengths(
    info: TensorInfo, sizes: dict[str, int], shape: CaseShape, generator: np.random.Generator
) -> NDArray[Any]:
    """Lengths in 1 … time steps, with the full length and 1 among them as far as the batch has room."""
    full = sizes.get(info.counted_dimension or "", shape.time_steps)
    count = _size(info.shape[0], sizes)
    lengths = np.full(count, full) if not shape.mixed_lengths else generator.integers(1, full + 1, size=count)
    lengths[0] = full
    if shape.mixed_lengths and count > 2:
        lengths[1] = 1
    lengths = np.sort(lengths)[::-1] if shape.sorted_lengths else generator.permutation(lengths)
    return lengths.astype(info.dtype)


def _draw_leading_flags(
    info: TensorInfo, sizes: dict[str, int], shape: CaseShape, generator: np.random.Generator
) -> NDArray[Any]:
    """Flags that are true from the first step of the last axis to a drawn one."""
    *rows, steps = (_size(dimension, sizes) for dimension in info.shape)
    lengths = generator.integers(1, steps + 1, size=(*rows, 1))
    if shape.sorted_lengths:
        lengths = np.sort(lengths, axis=0)[::-1]
    return np.arange(steps) < lengths


def _fill_padding(
    values: NDArray[Any], info: TensorInfo, lengths: NDArray[Any], lengths_info: TensorInfo, padding_value: float
) -> None:
    """Write `padding_value` where the series has ended, if `info` has the axes of the batch and of its time."""
    axes = lengths_info.shape[0], lengths_info.counted_dimension
    if axes[0] == axes[1] or not {*axes} <= {*info.shape} or not np.issubdtype(values.dtype, np.floating):
        return
    batch_first = np.moveaxis(values, [info.shape.index(axis) for axis in axes], (0, 1))
    batch_first[np.arange(batch_first.shape[1])[None, :] >= lengths[:, None]] = padding_value


def takes(info: TensorInfo, series: Sequence[NDArray[np.float32]]) -> bool:
    """Whether an input is [batch, time, features], with the features of these series."""
    steps_of = (info.batch_axis, info.time_axis) == (0, 1)
    return bool(series) and series[0].ndim == 2 and steps_of and info.shape[2:] == series[0].shape[1:]


def _take_series(
    series: Sequence[NDArray[np.float32]], shape: CaseShape, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Series of the bundle, each repeated until it fills the time axis: [batch, time, features]."""
    chosen = generator.integers(len(series), size=shape.batch_size)
    return np.stack([np.resize(series[i], (shape.time_steps, series[i].shape[1])) for i in chosen])


def _draw_values(
    info: TensorInfo,
    sizes: dict[str, int],
    values: Values,
    generator: np.random.Generator,
    series: Sequence[NDArray[np.float32]],
) -> NDArray[Any]:
    dimensions, dtype = [_size(dimension, sizes) for dimension in info.shape], np.dtype(info.dtype)
    if info.values is not None:
        return _draw_in_range(info.values, dtype, dimensions, generator)
    scale = scale_of(info, series)
    if dtype.kind != "f" and scale is None:
        return generator.integers(info.upper_bound or 2, size=dimensions).astype(dtype)
    drawn = np.asarray(generator.standard_normal(dimensions))  # without dimensions it is a number
    if values in ("normal", "large") and scale is not None:
        mean, deviation = scale.broadcast(len(dimensions))
        drawn = mean + _SCALES[values] * deviation * drawn
    else:
        offset = _CONSTANT if values == "constant" and info.role == "features" else 0.0
        drawn = (1.0 if values == "large" and info.role == "state" else _SCALES[values]) * drawn + offset
    return _in_type(drawn, dtype)


def inputs_of(inputs: Sequence[TensorInfo], series: Sequence[NDArray[np.float32]], cases: Sequence[Case]) -> str:
    """Say where the values of some calls come from, for a sentence."""
    stress, given = (sum(map(which, cases)) for which in (_is_stress, _is_given))
    features = [info for info in inputs if info.role == "features"]
    if given and given == len(cases):
        return "those given"
    if any(takes(info, series) for info in features):
        source = "the bundle's own series, and drawn with their mean and deviation"
    elif any(info.scale for info in features):
        source = "drawn with the mean and deviation of the model's own first normalisation"
    elif all(info.values for info in features):
        source = "drawn in the ranges that the model takes"
    else:
        source = "drawn from a standard normal distribution, since nothing tells the model's own scale"
    told = f"{'those given, and others ' if given else ''}{source}"
    return told + (f"; stress inputs in {stress} of {len(cases)} calls" if stress else "")


def _is_stress(case: Case) -> bool:
    return case.values != "normal"


def _is_given(case: Case) -> bool:
    return case.name.startswith(_GIVEN)


def scale_of(info: TensorInfo, series: Sequence[NDArray[np.float32]]) -> Scale | None:
    """Mean and deviation of an input's ordinary values: those of the series that it takes, or what the export found."""
    if not takes(info, series):
        return info.scale
    steps = np.concatenate(series).astype(np.float64)
    deviation = steps.std(0)
    if not np.isfinite(deviation).all():
        return info.scale
    return Scale(mean=tuple(steps.mean(0)), deviation=tuple(np.where(deviation > 0, deviation, 1)), axis=2)


def _in_type(drawn: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The nearest numbers that a type has."""
    if dtype.kind == "f":
        return np.asarray(np.clip(drawn, np.finfo(dtype).min, np.finfo(dtype).max), dtype)
    return np.asarray(np.clip(np.rint(drawn), np.iinfo(dtype).min, np.iinfo(dtype).max), dtype)


def _draw_in_range(
    values: tuple[float, float], dtype: np.dtype[Any], dimensions: list[int], generator: np.random.Generator
) -> NDArray[Any]:
    """Draw between both ends; the largest is among the values."""
    low, high = values
    if np.issubdtype(dtype, np.floating):
        drawn = np.asarray(generator.uniform(low, high, dimensions))
    else:
        drawn = np.asarray(generator.integers(int(low), int(high) + 1, size=dimensions))
    drawn.reshape(-1)[:1] = high
    return drawn.astype(dtype)


def _size(dimension: int | str, sizes: dict[str, int]) -> int:
    return dimension if isinstance(dimension, int) else sizes[dimension]
