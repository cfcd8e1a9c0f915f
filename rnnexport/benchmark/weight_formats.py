"""How weights are kept and multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnnexport.benchmark.machine import Arithmetic
from rnnexport.engines.contract import Precision


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """What a weight takes, and the arithmetic of its products."""

    bytes_per_weight: float
    arithmetic: Arithmetic


FORMATS: dict[Precision, WeightFormat] = {
    "float64": WeightFormat(8, "float32"),  # no CPU is faster in float64
    "float32": WeightFormat(4, "float32"),
    "float16": WeightFormat(2, "bfloat16"),
    "bfloat16": WeightFormat(2, "bfloat16"),
}
INT16 = WeightFormat(2, "float32")
INT8 = WeightFormat(1, "int8")
INT4 = WeightFormat(0.5, "int8")
STORED = {32: FORMATS["float32"], 16: INT16, 8: INT8, 4: INT4}
"""By the bits of a weight in the file."""


def mixed_format(bits: Sequence[int]) -> WeightFormat:
    """Return the format of a layer whose gates, of one size, have these bits: all bytes, and the fastest arithmetic."""
    narrowest = STORED[min(bits)]
    return WeightFormat(sum(STORED[each].bytes_per_weight for each in bits) / len(bits), narrowest.arithmetic)
