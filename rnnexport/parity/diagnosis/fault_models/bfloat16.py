"""Arithmetic in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rnnexport.parity.diagnosis.fault_model import FaultModel, Variant, narrow_arithmetic
from rnnexport.parity.rounding import to_bfloat16


class Bfloat16(FaultModel):
    """Matrix products of bfloat16 numbers, as OpenVINO chooses by itself on CPUs that have them.

    Example:
        outputs are right to 2 or 3 digits; errors near 1e-2 of their size, in each call.
    """

    name: ClassVar[str] = "bf16 arithmetic"
    remedy: ClassVar[str] = "say the precision: INFERENCE_PRECISION_HINT=f32 in OpenVINO, no autocast in PyTorch"
    of_rounding: ClassVar[bool] = True

    def variants(self) -> Iterator[Variant]:
        """See `narrow_arithmetic`."""
        yield from narrow_arithmetic("bfloat16", to_bfloat16)
