"""A step graph whose states stay where they are: what one call writes is what the next one reads, without a copy.

1. There are two sets of state buffers, which swap from call to call: a call that fails leaves the states as they were.
2. What a call returns belongs to the caller.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.chunks import Arrays
from rnnexport.engines.contract import InPlaceSession


class StepBuffers:
    """The bound calls of one chunk size."""

    def __init__(
        self,
        session: InPlaceSession,
        series: str,
        chunk: NDArray[Any],
        results: Arrays,
        *,
        pairs: Mapping[str, str],
        returned: Collection[str],
    ) -> None:
        """Go on from a call that went well.

        Args:
            session: Of the step graph.
            series: The input that is no state.
            chunk: What it was.
            results: All outputs of that call.
            pairs: For each state's input, its output.
            returned: The outputs that a call is to return.
        """
        self._chunk = np.array(chunk, order="C")
        first = {before: np.array(results[after], order="C") for before, after in pairs.items()}
        self._states = (first, {name: np.empty_like(array) for name, array in first.items()})
        other = {name: np.empty_like(array, order="C") for name, array in results.items() if name not in pairs.values()}
        self._calls = []
        for states, following in (self._states, self._states[::-1]):
            outputs = {**other, **{after: following[before] for before, after in pairs.items()}}
            call = session.bind_in_place({series: self._chunk, **states}, outputs)
            self._calls.append((call, {name: outputs[name] for name in returned}))
        self._now = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the chunks."""
        return self._chunk.shape

    def __call__(self, chunk: NDArray[Any]) -> Arrays:
        """Feed the next chunk.

        Raises:
            EngineError: The library failed; the states are as they were.
        """
        np.copyto(self._chunk, chunk)
        call, outputs = self._calls[self._now]
        call()
        self._now = 1 - self._now
        return {name: array.copy() for name, array in outputs.items()}

    @property
    def states(self) -> Arrays:
        """What the next call starts from, as copies."""
        return {name: array.copy() for name, array in self._states[self._now].items()}

    def set_states(self, states: Arrays) -> None:
        """Have the next call start from these."""
        for name, array in self._states[self._now].items():
            np.copyto(array, states[name])
