"""Forward and reverse, taken for each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from rnnexport.onnx_files.operators import INITIAL_C, INITIAL_H, B, P, R, W
from rnnexport.parity.diagnosis.fault_model import FaultModel, NodeInputs, Results, Variant, change_node
from rnnexport.parity.onnx_float64 import Alteration
from rnnexport.parity.recurrent_operators import evaluate

_OTHER = {"forward": "reverse", "reverse": "forward"}


class DirectionOrder(FaultModel):
    """The directions of a bidirectional layer in the other order, or a single one run the other way.

    Example:
        Keras keeps the backward layer's output in its own order of time, and a converter did not turn it round.
    """

    name: ClassVar[str] = "direction order"
    remedy: ClassVar[str] = (
        "put the forward direction first in W, R, B and the states, and check the attribute direction of each node"
    )

    def variants(self) -> Iterator[Variant]:
        """Weights, results, states, and the sense of a single direction."""
        for says, change in (
            ("the weights of the two directions are swapped", _swap(W, R, B, P)),
            ("the initial states of the two directions are swapped", _swap(INITIAL_H, INITIAL_C)),
            ("a layer of one direction runs the other way", _turn),
        ):
            altered = change_node(change)
            yield Variant(says, altered, undo=altered)
        results = Alteration(_swapped_results)
        yield Variant("the outputs of the two directions are swapped", results, undo=results)
        yield Variant("the second direction runs forward, too", Alteration(_both_forward))


def _swap(*indices: int) -> Any:
    def changed(op_type: str, inputs: NodeInputs, attributes: dict[str, Any]) -> None:
        if attributes.get("direction") != "bidirectional":
            return
        for index in indices:
            if index < len(inputs) and inputs[index] is not None:
                batch_first = attributes.get("layout", 0) and index in (INITIAL_H, INITIAL_C)
                inputs[index] = np.flip(inputs[index], 1 if batch_first else 0)

    return changed


def _turn(_: str, __: NodeInputs, attributes: dict[str, Any]) -> None:
    direction = attributes.get("direction", "forward")
    attributes["direction"] = _OTHER.get(direction, direction)


def _swapped_results(op_type: str, inputs: NodeInputs, **attributes: Any) -> Results:
    y, *states = evaluate(op_type, inputs, **attributes)
    if attributes.get("layout", 0):
        return np.flip(y, 2), *(np.flip(state, 1) for state in states)
    return np.flip(y, 1), *(np.flip(state, 0) for state in states)


def _both_forward(op_type: str, inputs: NodeInputs, **attributes: Any) -> Results:
    """Each direction as a layer of its own, forward."""
    if attributes.get("direction") != "bidirectional" or attributes.get("layout", 0):
        return evaluate(op_type, inputs, **attributes)
    if attributes.get("activations"):
        return evaluate(op_type, inputs, **attributes)
    shared = attributes | {"direction": "forward"}
    parts = [
        evaluate(op_type, [_half(index, array, d) for index, array in enumerate(inputs)], **shared) for d in (0, 1)
    ]
    (y, *states), (other_y, *other_states) = parts
    joined = [np.concatenate(pair) for pair in zip(states, other_states, strict=True)]
    return np.concatenate([y, other_y], axis=1), *joined


def _half(index: int, array: Any, direction: int) -> Any:
    per_direction = index in (W, R, B, INITIAL_H, INITIAL_C, P)
    return array[direction : direction + 1] if per_direction and array is not None else array
