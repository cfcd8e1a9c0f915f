"""The one series that a graph takes, where it takes one: its place among the inputs, and what it must hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.manifest import Manifest, TensorInfo
from rnnexport.data.padding import pad_series
from rnnexport.errors import InputError

Series = NDArray[Any]


@dataclass(frozen=True)
class SeriesInput:
    """A graph whose inputs are one series and, where it reads padded batches, their lengths."""

    info: TensorInfo
    lengths: TensorInfo | None

    @cached_property
    def feature_shape(self) -> tuple[int | str, ...]:
        """The dimensions of one time step; none for tokens."""
        return tuple(d for axis, d in enumerate(self.info.shape) if axis not in self._axes)

    def check(self, what: str, values: Series) -> Series:
        """Return a series [time, ...] in the graph's type.

        Raises:
            InputError: It is empty, of another shape, not finite, or holds what is no token of the model.
        """
        if values.ndim == 0 or values.shape[1:] != self.feature_shape or len(values) == 0:
            wanted = ", ".join(["time", *map(str, self.feature_shape)])
            raise InputError(f"{what} has shape {list(values.shape)}; the model takes [{wanted}] with time ≥ 1")
        return check_values(what, values, self.info, ("time step", "feature"))

    def feeds(self, series: Sequence[Series]) -> dict[str, NDArray[Any]]:
        """Return one call with all these series, which `check` has let pass."""
        padded, lengths = pad_series(series)
        if self._axes != (0, 1):
            padded = np.moveaxis(padded, (0, 1), self._axes)
        feeds = {self.info.name: padded}
        return (
            feeds
            if self.lengths is None
            else feeds | {self.lengths.name: lengths.astype(self.lengths.dtype, copy=False)}
        )

    def in_order(self, info: TensorInfo, pieces: Sequence[tuple[NDArray[np.int64], NDArray[Any]]]) -> NDArray[Any]:
        """Join an output of several calls, given the places of the series of each; steps that one has not are 0."""
        if not pieces:
            return np.zeros([d if isinstance(d, int) else 0 for d in info.shape], info.dtype)
        axis = info.batch_axis or 0
        arrays = [np.moveaxis(array, axis, 0) if axis else array for _, array in pieces]
        if len(pieces) == 1 and len(pieces[0][0]) == 1:
            return arrays[0]
        shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
        joined = np.zeros((sum(map(len, arrays)), *shape), arrays[0].dtype)
        for (places, _), array in zip(pieces, arrays, strict=True):
            corner: tuple[Any, ...] = tuple(map(slice, array.shape[1:]))
            joined[(places, *corner)] = array
        return joined

    @cached_property
    def _axes(self) -> tuple[int, int]:
        assert self.info.batch_axis is not None
        assert self.info.time_axis is not None
        return self.info.batch_axis, self.info.time_axis


def series_input(manifest: Manifest) -> SeriesInput | None:
    """Find the series among the inputs of the sequence graph; `None` where there is not exactly one.

    Its axes of the batch and of time must be known, since to take one for the other would give wrong answers without a
    word.
    """
    lengths = [info for info in manifest.inputs if info.role == "lengths"]
    others = [info for info in manifest.inputs if info.role != "lengths"]
    if len(others) != 1 or len(lengths) > 1 or others[0].role == "state":
        return None
    (info,) = others
    if info.batch_axis is None or info.time_axis is None:
        return None
    return SeriesInput(info, lengths[0] if lengths else None)


def check_values(what: str, values: Series, info: TensorInfo, axes: Sequence[str]) -> Series:
    """Return an array in the type of the input `info`; errors name the place with `axes`, such as `time step`.

    Raises:
        InputError: A value is not finite, no number, or no token of the model.
    """
    dtype = np.dtype(info.dtype)
    whole, mend = dtype.kind in "iu", ""
    if values.dtype.kind not in ("iu" if whole else "fiu"):
        raise InputError(f"{what} holds {values.dtype}; the model takes {'whole numbers' if whole else 'numbers'}")
    if whole:
        wrong = (values < 0) | (values >= (info.upper_bound or np.iinfo(dtype).max))
        problem = f"is no token from 0 to {(info.upper_bound or 0) - 1}" if info.upper_bound else f"is no {dtype}"
    else:
        if values.dtype != dtype:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is named below
                values = values.astype(dtype)
        wrong = ~np.isfinite(values)
        problem, mend = "is not finite", "; fill or cut it first"
    if wrong.any():
        place = ", ".join(f"{axis} {i}" for axis, i in zip(axes, np.argwhere(wrong)[0], strict=False))
        raise InputError(f"{what} {problem} at {place}{mend}")
    return values.astype(dtype, copy=False)
