"""The gates' weights stand in another order than the operator reads them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import permutations
from typing import Any, ClassVar

import numpy as np

from rnnexport.onnx_files.operators import GATES, B, R, W
from rnnexport.parity.diagnosis.fault_model import FaultModel, NodeInputs, Variant, change_node

_PARTS = {"the gates": (W, R, B), "the gates in W": (W,), "the gates in R": (R,), "the gates in B": (B,)}
_KNOWN = {"ifco": "PyTorch's, Keras's", "ifoc": "a common textbook's", "rzh": "PyTorch's"}


class GateOrder(FaultModel):
    """The gates in another order than the operator's; every order is tried.

    Example:
        PyTorch's i, f, c, o written where ONNX reads i, o, f, c.
    """

    name: ClassVar[str] = "gate order"
    remedy: ClassVar[str] = (
        "reorder the gates of W, R and B as ONNX has them: i, o, f, c in an LSTM, z, r, h in a GRU (PyTorch has "
        "i, f, c, o and r, z, h)"
    )

    def variants(self) -> Iterator[Variant]:
        """One for each order of each cell; the usual ones also where only some of the weights stand so."""
        for cell, gates in GATES.items():
            for order in permutations(range(len(gates))):
                letters = "".join(gates[gate] for gate in order)
                if letters == gates:
                    continue
                inverse = tuple(int(i) for i in np.argsort(order))
                known = f" ({_KNOWN[letters]} order)" if letters in _KNOWN else ""
                stand = f"of the {cell} stand in the order {', '.join(letters)}{known}, not {', '.join(gates)}"
                for what, indices in (_PARTS if known else {"the gates": (W, R, B)}).items():
                    there = change_node(partial(_reorder, cell, order, indices))
                    back = change_node(partial(_reorder, cell, inverse, indices))
                    yield Variant(f"{what} {stand}", there, undo=back)


def _reorder(
    cell: str, order: tuple[int, ...], indices: tuple[int, ...], op_type: str, inputs: NodeInputs, _: dict[str, Any]
) -> None:
    if op_type != cell:
        return
    for index in indices:
        if index == B and inputs[B] is not None:
            halves = np.split(np.asarray(inputs[B]), 2, axis=1)
            inputs[B] = np.concatenate([_blocks(half, order) for half in halves], axis=1)
        elif index != B:
            inputs[index] = _blocks(inputs[index], order)


def _blocks(array: Any, order: tuple[int, ...]) -> Any:
    parts = np.split(np.asarray(array), len(order), axis=1)
    return np.concatenate([parts[gate] for gate in order], axis=1)
