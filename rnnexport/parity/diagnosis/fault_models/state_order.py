"""h and c of an LSTM, taken for each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from rnnexport.onnx_files.operators import INITIAL_C, INITIAL_H
from rnnexport.parity.diagnosis.fault_model import FaultModel, NodeInputs, Results, Variant, change_node
from rnnexport.parity.onnx_float64 import Alteration
from rnnexport.parity.recurrent_operators import evaluate


class StateOrder(FaultModel):
    """States in the wrong order on the way in or out, or not handed in at all.

    Example:
        c_0 is given where h_0 is read, and a stream goes wrong from its second chunk on.
    """

    name: ClassVar[str] = "state order"
    remedy: ClassVar[str] = "hand the states over in the order h, c, and carry each one to the input of the same state"

    def variants(self) -> Iterator[Variant]:
        """The initial states, the final states."""
        initial = change_node(_swap_initial)
        final = Alteration(_swapped_final)
        yield Variant("the initial states h and c are swapped", initial, undo=initial)
        yield Variant("the final states h and c are swapped", final, undo=final)
        yield Variant("the initial states are ignored", change_node(_without_initial))


def _swap_initial(op_type: str, inputs: NodeInputs, _: dict[str, Any]) -> None:
    if op_type == "LSTM":
        inputs[INITIAL_H], inputs[INITIAL_C] = inputs[INITIAL_C], inputs[INITIAL_H]


def _without_initial(op_type: str, inputs: NodeInputs, _: dict[str, Any]) -> None:
    inputs[INITIAL_H] = None
    if op_type == "LSTM":
        inputs[INITIAL_C] = None


def _swapped_final(op_type: str, inputs: NodeInputs, **attributes: Any) -> Results:
    y, *states = evaluate(op_type, inputs, **attributes)
    return y, *reversed(states)
