"""Facts about ONNX's recurrent operators and about operators that only change a layout: the one table of them.

Source: the ONNX operator specification of LSTM (1, 7, 14, 22), GRU (1, 3, 7, 14, 22) and RNN (1, 7, 14, 22).
"""

from __future__ import annotations

from typing import Literal

Cell = Literal["LSTM", "GRU"]
Recurrent = Literal["LSTM", "GRU", "RNN"]

RECURRENT = ("LSTM", "GRU", "RNN")
GATES = {"LSTM": "iofc", "GRU": "zrh", "RNN": "i"}
"""The order of the gates in W, R and B."""
NUMBER_OF_INPUTS = {"LSTM": 8, "GRU": 6, "RNN": 6}

X, W, R, B, SEQUENCE_LENS, INITIAL_H, INITIAL_C, P = range(8)
"""Positions of the inputs; only an LSTM has the last two."""
Y, Y_H, Y_C = range(3)
"""Positions of the outputs; only an LSTM has the last."""

QUANTIZED_LSTM = "DynamicQuantizeLSTM"
"""ONNX Runtime's LSTM with weights of 8 bits (domain com.microsoft): the same inputs, and scales after them."""

STACK, STACK_DOMAIN = "RecurrentStack", "rnnexport"
"""The operator of rnnexport-kernels: all layers of a stack in one node; described in kernels/README.md."""
STACK_PACKAGES = "rnnexport.kernels"
"""The entry-point group of packages that bring it; each entry is a function that returns the path of a library."""

STATES: dict[str, tuple[tuple[int, int, str], ...]] = {
    "LSTM": ((INITIAL_H, Y_H, "h"), (INITIAL_C, Y_C, "c")),
    "GRU": ((INITIAL_H, Y_H, "h"),),
    "RNN": ((INITIAL_H, Y_H, "h"),),
}
"""Of each state: the position of the input that it enters by, that of the output that it leaves by, and its letter."""

LAYOUT = frozenset(
    ("Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
)
"""Operators that hand values on in another order, shape or type, and compute none."""
