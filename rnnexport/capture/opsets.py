"""Which ONNX operator sets the captured graphs may use.

Below 18 the PyTorch exporter writes 18 and converts down, which loses Split and reductions; above 22 one of the two
inference libraries that this project is tested with has not all operators.
"""

from __future__ import annotations

from rnnexport.errors import InputError

OPSETS = range(18, 23)
"""The operator set versions that `opset_version` may name."""
DEFAULT_OPSET = 20
"""ONNX Runtime 1.32 and OpenVINO 2026.4 both run it with their fused LSTM and GRU kernels."""
IR_VERSION = 10
"""The ONNX file format; 10 came with operator set 21 and is read by everything that reads 18."""


def check_opset(opset_version: int) -> None:
    """Refuse a version outside `OPSETS`.

    Raises:
        InputError: The message gives the range.
    """
    if opset_version not in OPSETS:
        raise InputError(f"opset_version {opset_version!r} is out of range; use {OPSETS[0]} to {OPSETS[-1]}")
