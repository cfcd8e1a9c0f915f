"""The axes of batch and time, taken for each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from rnnexport.onnx_files.operators import INITIAL_C, INITIAL_H, SEQUENCE_LENS
from rnnexport.parity.diagnosis.fault_model import FaultModel, NodeInputs, Results, Variant
from rnnexport.parity.onnx_float64 import Alteration
from rnnexport.parity.recurrent_operators import evaluate


class BatchMajor(FaultModel):
    """The layer runs over the rows of the batch as if they were time steps.

    Example:
        a batch of 2 series of 25 steps is read as 25 series of 2 steps.
    """

    name: ClassVar[str] = "batch-major mistaken for time-major"
    remedy: ClassVar[str] = (
        "transpose the input of the recurrent node to [time, batch, features], or say batch_first=True in PyTorch"
    )

    def variants(self) -> Iterator[Variant]:
        """One."""
        over_batch = Alteration(_over_batch)
        yield Variant("the recurrence runs over the batch, not over time", over_batch, undo=over_batch)


def _over_batch(op_type: str, inputs: NodeInputs, **attributes: Any) -> Results:
    """Y keeps its shape; the final states are those of the last time step, [D, B, H]."""
    x, *rest = inputs
    for index in (SEQUENCE_LENS, INITIAL_H, INITIAL_C):
        if index - 1 < len(rest):
            rest[index - 1] = None  # made for another number of rows
    y, *states = evaluate(op_type, [np.swapaxes(x, 0, 1), *rest], **attributes)
    if attributes.get("layout", 0):
        return np.swapaxes(y, 0, 1), *states
    y = np.swapaxes(y, 0, 2)
    return y, *(y[-1] for _ in states)
