"""An answer that belongs to another call, or to none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from rnnexport.parity.diagnosis.fault_model import Call, Evidence, FaultModel, Outputs, PredictedOutputs


class StaleOutput(FaultModel):
    """The runtime returns memory that this call did not write.

    Example:
        the answer to a call is zeros, or that of the call before.
    """

    name: ClassVar[str] = "stale or undefined output"
    remedy: ClassVar[str] = (
        "the runtime swallowed an error: run with more than one thread or with an asynchronous request, which report "
        "it, or with static shapes"
    )

    def predictions(self, evidence: Evidence, node: str | None = None) -> Iterator[PredictedOutputs]:
        """Zeros, and for each distance the memory of the call so many before."""
        if node is not None:
            return
        shapes = [{name: np.shape(array) for name, array in call.observed.items()} for call in evidence.calls]
        zeros = [{name: np.zeros(shape) for name, shape in each.items()} for each in shapes]
        yield PredictedOutputs("the output was never written", zeros)
        stale = [_nearest_earlier(evidence, call) for call in evidence.calls]
        yield PredictedOutputs("the output is that of an earlier call", stale)


def _nearest_earlier(evidence: Evidence, call: Call) -> Outputs:
    """What that earlier call gave whose memory, read in this call's shape, comes nearest to what was observed.

    A call that has none before it, or is right, is predicted to be right: not every call need be stale.
    """
    right = {name: reference.expected for name, reference in call.expected.items()}
    if all(np.allclose(call.observed[name], expected, atol=1e-4) for name, expected in right.items()):
        return right
    found = [right]
    for earlier in evidence.all_expected[: call.position]:
        flat = {name: earlier[name].expected.ravel() for name in right}
        if all(flat[name].size >= expected.size for name, expected in right.items()):
            found.append({n: flat[n][: expected.size].reshape(expected.shape) for n, expected in right.items()})
    return min(found, key=lambda each: sum(float(np.abs(call.observed[n] - each[n]).sum()) for n in right))
