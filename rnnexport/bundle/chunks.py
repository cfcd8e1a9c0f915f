"""A step graph fed chunk by chunk: what a chunk is, and how the states are carried from call to call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.manifest import StepGraphInfo, TensorInfo
from rnnexport.engines.contract import Feeds, Session

Arrays = dict[str, NDArray[Any]]


class ChunkFeeder:
    """Feeds a step graph, and carries the states from each call to the next; they change only when a call went well."""

    def __init__(self, session: Session, pairs: Mapping[str, str], states: Arrays) -> None:
        """Start from `states`; `pairs` tells which output gives the next value of which state."""
        self.session, self.pairs, self.states = session, pairs, states

    def __call__(self, chunk: Feeds) -> Arrays:
        """Feed one chunk, without states, and return all outputs, the new states among them."""
        results = self.session.run({**chunk, **self.states})
        self.states = {before: results[after] for before, after in self.pairs.items()}
        return results


def sizes(step: StepGraphInfo, feeds: Feeds) -> tuple[int, int]:
    """Return the streams and the time steps of a call, from those of its inputs that are given."""
    given = [info for info in step.inputs if info.name in feeds]
    found = {d: n for info in given for d, n in zip(info.shape, feeds[info.name].shape, strict=True)}
    return found.get(step.batch_dimension, 1), found[step.time_dimension]


def fresh_states(step: StepGraphInfo, names: Iterable[str], streams: int) -> Arrays:
    """Return zeros for the states of these names."""
    wanted = set(names)
    return {
        info.name: np.zeros([streams if isinstance(d, str) else d for d in info.shape], info.dtype)
        for info in step.inputs
        if info.name in wanted
    }


def cut(step: StepGraphInfo, feeds: Feeds, start: int, stop: int) -> Arrays:
    """Return the time steps from `start` to `stop` of whole series; what has no time goes into every chunk."""
    chunk = {}
    for info in step.inputs:
        if info.name in feeds:
            axis, whole = info.time_axis, feeds[info.name]
            steps = (slice(None),) * (axis or 0) + (slice(start, stop),)
            chunk[info.name] = whole if axis is None else np.ascontiguousarray(whole[steps])
    return chunk


def joined(info: TensorInfo, results: Sequence[Feeds]) -> NDArray[Any]:
    """Return an output of consecutive chunks as that of the whole series; without time the last one counts."""
    if info.time_axis is None or len(results) == 1:
        return results[-1][info.name]
    return np.concatenate([result[info.name] for result in results], axis=info.time_axis)
