"""Arithmetic in TensorFloat-32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rnnexport.parity.diagnosis.fault_model import FaultModel, Variant, narrow_arithmetic
from rnnexport.parity.rounding import to_tf32


class TensorFloat32(FaultModel):
    """Matrix products of float32 numbers cut to 11 bits, the default of NVIDIA's tensor cores.

    Example:
        ONNX Runtime on an NVIDIA GPU errs near 1e-3 where its CPU gives 1e-6.
    """

    name: ClassVar[str] = "TF32 arithmetic"
    remedy: ClassVar[str] = "set use_tf32 = 0 under [options] for ONNX Runtime CUDA, allow_tf32 = False in PyTorch"
    of_rounding: ClassVar[bool] = True

    def variants(self) -> Iterator[Variant]:
        """See `narrow_arithmetic`."""
        yield from narrow_arithmetic("TF32", to_tf32)
