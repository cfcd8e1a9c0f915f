"""Series that come chunk by chunk: the states stay here between the calls.

1. A call takes the next chunk and gives what the graph gives for it; joined, that is what the whole series gives.
2. The states change only when a call went well.
3. A graph that is fixed to one time step is run step by step.
4. From the third chunk of one size on, the states stay in buffers that the runtime reads and writes in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnexport.bundle.chunks import Arrays, ChunkFeeder, fresh_states, joined
from rnnexport.bundle.manifest import Manifest, StepGraphInfo, TensorInfo
from rnnexport.engines.contract import InPlaceSession, Session
from rnnexport.errors import InputError
from rnnexport.predicting.series import check_values
from rnnexport.predicting.step_buffers import StepBuffers


class Stream:
    """One stream, or several that are the rows of each call; made by `Predictor.stream`.

    Streams of one predictor know nothing of each other. One stream is for one thread at a time.
    """

    def __init__(
        self, manifest: Manifest, session: Session, batch_size: int, answer: Callable[[Arrays], NDArray[Any]]
    ) -> None:
        """Start `batch_size` streams afresh; `answer` makes of the graph's outputs what a call returns.

        Raises:
            InputError: The step graph takes more than one series, or fewer streams in one call.
        """
        assert manifest.step is not None
        self.batch_size = batch_size
        self._step, self._session, self._answer = manifest.step, session, answer
        self._pairs = dict(manifest.state_pairs)
        self._series = _series(self._step, self._pairs)
        self._outputs = [info for info in self._step.outputs if info.name in {o.name for o in manifest.outputs}]
        self._batch_axes = {
            info.name: info.batch_axis for info in (self._series, *self._outputs) if info.batch_axis is not None
        }
        if batch_size < 1 or (batch_size > 1 and not self._step.batch_dimension):
            raise InputError(f"batch_size is {batch_size}; choose 1{' or more' if self._step.batch_dimension else ''}")
        self._one_step = bool(_fixed(self._step, session, self._step.time_dimension))
        self._feed = ChunkFeeder(session, self._pairs, self._fresh())
        self._buffers: StepBuffers | None = None
        """Where the states are instead, for chunks of one size."""
        self._last_shape: tuple[int, ...] = ()

    def __call__(self, chunk: ArrayLike) -> NDArray[Any]:
        """Feed the next chunk and return its answer, as the predictor returns that of a series.

        Args:
            chunk: [time, features], or tokens [time], for a single stream; [batch, time, features] for several. The
                answer has a batch axis where the chunk has one.

        Raises:
            InputError: The chunk has another shape or is not finite. The states are as they were.
        """
        return self._answer(self.outputs(chunk))

    def outputs(self, chunk: ArrayLike) -> Arrays:
        """As a call, but all outputs of the graph by name, as they are; the batch axis comes first."""
        array = np.asarray(chunk)
        bare = bool(self._step.batch_dimension) and array.ndim == len(self._series.shape) - 1
        pieces = self._pieces(self._checked(array, bare))
        before = self._current_states() if len(pieces) > 1 else {}
        results = []
        try:
            for piece in pieces:
                results.append(self._call(piece))
        except BaseException:
            if before:
                self._set_states(before)
            raise
        joined = {info.name: self._joined(info, results) for info in self._outputs}
        return {name: array[0] if bare and name in self._batch_axes else array for name, array in joined.items()}

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Start afresh: all streams, or those in these rows of the batch.

        Raises:
            InputError: There is no such row.
        """
        fresh = self._fresh()
        if rows is None:
            self._set_states(fresh)
            return
        if wrong := [row for row in rows if not 0 <= row < self.batch_size]:
            raise InputError(f"there is no row {wrong[0]} among {self.batch_size} streams")
        states = self._current_states()
        for info in self._step.inputs:
            if info.name in fresh and info.batch_axis is not None:
                np.moveaxis(states[info.name], info.batch_axis, 0)[list(rows)] = 0
                fresh[info.name] = states[info.name]
        self._set_states(fresh)

    def _call(self, chunk: NDArray[Any]) -> Arrays:
        """What is to be returned for one chunk, at least; the states move on."""
        if self._buffers is not None:
            if chunk.shape == self._buffers.shape:
                return self._buffers(chunk)
            self._feed.states, self._buffers = self._buffers.states, None
        results = self._feed({self._series.name: chunk})
        if chunk.shape == self._last_shape and isinstance(self._session, InPlaceSession):
            returned = [info.name for info in self._outputs]
            self._buffers = StepBuffers(
                self._session, self._series.name, chunk, results, pairs=self._pairs, returned=returned
            )
        self._last_shape = chunk.shape
        return results

    def _current_states(self) -> Arrays:
        """As copies."""
        if self._buffers is not None:
            return self._buffers.states
        return {name: array.copy() for name, array in self._feed.states.items()}

    def _set_states(self, states: Arrays) -> None:
        if self._buffers is not None:
            self._buffers.set_states(states)
        else:
            self._feed.states = states

    def _fresh(self) -> Arrays:
        return fresh_states(self._step, self._pairs, self.batch_size)

    def _checked(self, chunk: NDArray[Any], bare: bool) -> NDArray[Any]:
        """The chunk as the graph declares it; a bare one has no batch axis yet."""
        batch, time = self._step.batch_dimension, self._step.time_dimension
        rest = [d for d in self._series.shape if d != batch]
        whole = [self.batch_size, *rest] if batch else rest
        shapes = [whole, rest] if batch and self.batch_size == 1 else [whole]
        if not any(_matches(chunk.shape, shape) for shape in shapes):
            told = " or ".join(f"[{', '.join(map(str, shape))}]" for shape in shapes)
            raise InputError(f"the chunk has shape {list(chunk.shape)}; the stream takes {told} with time ≥ 1")
        axes = ["time step" if d == time else "feature" for d in rest]
        chunk = check_values("the chunk", chunk, self._series, axes if bare or not batch else ["row", *axes])
        if bare:
            chunk = chunk[None]
        return _moved(chunk, 0, self._batch_axes[self._series.name]) if batch else chunk

    def _pieces(self, chunk: NDArray[Any]) -> list[NDArray[Any]]:
        if not self._one_step:
            return [chunk]
        axis = self._series.time_axis
        assert axis is not None
        return np.split(chunk, chunk.shape[axis], axis=axis)

    def _joined(self, info: TensorInfo, results: list[Arrays]) -> NDArray[Any]:
        """The output of the whole chunk, with the streams first; without time steps the last one counts."""
        return _moved(joined(info, results), self._batch_axes.get(info.name, 0), 0)


def _moved(array: NDArray[Any], source: int, target: int) -> NDArray[Any]:
    """As `np.moveaxis`, which takes 3 µs where there is nothing to move, too."""
    return array if source == target else np.moveaxis(array, source, target)


def _matches(actual: tuple[int, ...], wanted: Sequence[int | str]) -> bool:
    return len(actual) == len(wanted) and all(
        got > 0 if isinstance(d, str) else got == d for got, d in zip(actual, wanted, strict=True)
    )


def fits(step: StepGraphInfo, session: Session, batch_size: int) -> bool:
    """Whether a graph that may be fixed to a batch size and a number of time steps can run so many streams."""
    return all(size == batch_size for size in _fixed(step, session, step.batch_dimension)) and all(
        size == 1 for size in _fixed(step, session, step.time_dimension)
    )


def _fixed(step: StepGraphInfo, session: Session, dimension: str) -> list[int]:
    """The sizes to which the session's graph fixes a dimension that is dynamic in the bundle's own step graph."""
    specs = {spec.name: spec.shape for spec in session.inputs}
    return [
        size
        for info in step.inputs
        for d, size in zip(info.shape, specs[info.name], strict=True)
        if d == dimension and isinstance(size, int)
    ]


def _series(step: StepGraphInfo, pairs: dict[str, str]) -> TensorInfo:
    inputs = [info for info in step.inputs if info.name not in pairs]
    if len(inputs) != 1 or inputs[0].time_axis is None:
        names = ", ".join(info.name for info in inputs)
        raise InputError(f"a stream feeds one series, the step graph takes {names}; run step.onnx with its states")
    return inputs[0]
