"""Operations of `keras.ops` in a Functional model: arithmetic, and parts of a tensor. Unlike layers they end masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnexport.keras_files.layers.layer import KerasLayer, Shape, broadcast

ARITHMETIC = {
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Divide": "Div",
    "TrueDivide": "Div",
    "Maximum": "Max",
    "Minimum": "Min",
}
"""The ONNX operator of each, by the operation's class in a file."""


@dataclass(frozen=True, slots=True)
class ArithmeticOperation(KerasLayer):
    """Two tensors, or a tensor and a number, element by element, the axes counted from the last."""

    operation: str
    """A value of `ARITHMETIC`."""
    number: float | None = None
    number_first: bool = False

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """The common shape."""
        return [broadcast(inputs)]


@dataclass(frozen=True, slots=True)
class PartOperation(KerasLayer):
    """Elements along axes: one, whose axis is gone then, or from the first up to the last."""

    picks: tuple[int | slice, ...]
    """For the axes from the batch on; the batch is taken whole."""

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """Fewer axes, or smaller ones."""
        shape: list[int | str] = []
        for size, pick in zip(inputs[0], self.picks, strict=False):
            if pick == slice(None):
                shape.append(size)
            elif isinstance(pick, slice):
                steps = len(range(size)[pick]) if isinstance(size, int) else f"{size}_from_{pick.start}_to_{pick.stop}"
                shape.append(steps)
        return [(*shape, *inputs[0][len(self.picks) :])]


def read_part(picks: Any) -> PartOperation | None:
    """The operation `x[picks]` as a file says it; `None` where it takes anything but numbers and plain slices."""
    found: list[int | slice] = []
    for pick in picks if isinstance(picks, list) else [picks]:
        if type(pick) is int:
            found.append(pick)
            continue
        config = pick.get("config", {}) if isinstance(pick, Mapping) and pick.get("class_name") == "__slice__" else {}
        limits = [config.get(key, "") for key in ("start", "stop", "step")]
        if not all(limit is None or type(limit) is int for limit in limits) or limits[2] not in (None, 1):
            return None
        found.append(slice(limits[0], limits[1]))
    return PartOperation(tuple(found)) if found and found[0] == slice(None) else None
