"""Arithmetic in float16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rnnexport.parity.diagnosis.fault_model import FaultModel, Variant, narrow_arithmetic
from rnnexport.parity.rounding import to_float16


class Float16(FaultModel):
    """Matrix products of float16 numbers.

    Example:
        outputs are right to 3 digits; infinity where a value passed 65,504.
    """

    name: ClassVar[str] = "fp16 arithmetic"
    remedy: ClassVar[str] = (
        "say the precision (INFERENCE_PRECISION_HINT=f32 in OpenVINO), and load no model converted to fp16"
    )
    of_rounding: ClassVar[bool] = True

    def variants(self) -> Iterator[Variant]:
        """See `narrow_arithmetic`."""
        yield from narrow_arithmetic("float16", to_float16)
