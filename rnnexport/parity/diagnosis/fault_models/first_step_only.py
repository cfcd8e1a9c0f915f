"""A loop over time that ends after its first step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from rnnexport.onnx_files.operators import SEQUENCE_LENS
from rnnexport.parity.diagnosis.fault_model import FaultModel, NodeInputs, Results, Variant
from rnnexport.parity.onnx_float64 import Alteration
from rnnexport.parity.recurrent_operators import evaluate


class FirstStepOnly(FaultModel):
    """What follows the first step is zero, or the first step again.

    Example:
        the exporter saw one step, and the graph answers all others with it.
    """

    name: ClassVar[str] = "only the first time step computed"
    remedy: ClassVar[str] = (
        "export the whole layer, not a call of its cell; a loop over time must have a dynamic trip count"
    )

    def variants(self) -> Iterator[Variant]:
        """What stands in place of the steps that are missing."""
        yield Variant("only the first time step is computed, the others are 0", Alteration(_zeros_after))
        yield Variant("only the first time step is computed, the others repeat it", Alteration(_repeated))


def _first(op_type: str, inputs: NodeInputs, attributes: dict[str, Any]) -> tuple[Results, int, int]:
    axis = 1 if attributes.get("layout", 0) else 0
    x, *rest = inputs
    if len(rest) >= SEQUENCE_LENS and rest[SEQUENCE_LENS - 1] is not None:
        rest[SEQUENCE_LENS - 1] = np.minimum(rest[SEQUENCE_LENS - 1], 1)
    return evaluate(op_type, [np.take(x, [0], axis), *rest], **attributes), axis, np.shape(x)[axis]


def _zeros_after(op_type: str, inputs: NodeInputs, **attributes: Any) -> Results:
    (y, *states), axis, time_steps = _first(op_type, inputs, attributes)
    rest = np.zeros_like(np.repeat(y, time_steps - 1, axis))
    return np.concatenate([y, rest], axis), *states


def _repeated(op_type: str, inputs: NodeInputs, **attributes: Any) -> Results:
    (y, *states), axis, time_steps = _first(op_type, inputs, attributes)
    return np.repeat(y, time_steps, axis), *states
