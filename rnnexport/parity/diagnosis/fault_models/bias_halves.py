"""The two halves of the bias: of the input product (Wb) and of the recurrent one (Rb)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from rnnexport.onnx_files.operators import B
from rnnexport.parity.diagnosis.fault_model import FaultModel, NodeInputs, Variant, change_node

_LOSSES: dict[str, Any] = {
    "the input half of the bias, Wb, is missing": lambda w, r: (0 * w, r),
    "the recurrent half of the bias, Rb, is missing": lambda w, r: (w, 0 * r),
    "both halves of the bias stand in Wb": lambda w, r: (w + r, 0 * r),
    "the bias is missing": lambda w, r: (0 * w, 0 * r),
}


class BiasHalves(FaultModel):
    """The halves of the bias swapped, or one of them lost.

    An LSTM adds both, so that it cannot tell them from each other; a GRU multiplies part of one by its reset gate.

    Example:
        a converter writes bias_ih + bias_hh into Wb and zeros into Rb, which changes a GRU.
    """

    name: ClassVar[str] = "bias halves"
    remedy: ClassVar[str] = (
        "join bias_ih and bias_hh in this order into B; they may be added up for an LSTM only, for a GRU all but the "
        "candidate's"
    )

    def variants(self) -> Iterator[Variant]:
        """Each way of getting the halves wrong."""
        swapped = change_node(_with_halves(lambda w, r: (r, w)))
        yield Variant("the bias's halves Wb and Rb are swapped", swapped, undo=swapped)
        for says, change in _LOSSES.items():
            yield Variant(says, change_node(_with_halves(change)))


def _with_halves(change: Any) -> Any:
    def changed(_: str, inputs: NodeInputs, __: dict[str, Any]) -> None:
        if inputs[B] is not None:
            inputs[B] = np.concatenate(change(*np.split(np.asarray(inputs[B], np.float64), 2, axis=1)), axis=1)

    return changed
