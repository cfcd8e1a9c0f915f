"""The recurrent layers of DeepBench's inference set (Baidu Research, Apache-2.0).

https://github.com/baidu-research/DeepBench; input size and hidden size are the same there.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Cell = Literal["lstm", "gru"]


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One recurrent layer, whose input size is its hidden size, and one call of it."""

    cell: Cell
    hidden_size: int
    batch_size: int
    time_steps: int

    @property
    def model(self) -> str:
        """Such as `lstm-512`."""
        return f"{self.cell}-{self.hidden_size}"

    def __str__(self) -> str:
        """Such as `lstm-512 batch=1 time=25`."""
        return f"{self.model} batch={self.batch_size} time={self.time_steps}"


def deepbench_shapes(*, every: bool = False) -> list[LayerShape]:
    """Return the shapes of `deepbench.csv` without repetition, or a fixed part of them that takes less than an hour.

    The part leaves out batch 2 and long calls of large layers.
    """
    text = resources.files("rnnexport.benchmark").joinpath("deepbench.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    shapes = [
        LayerShape(row["cell"], int(row["hidden"]), int(row["batch"]), int(row["time_steps"]))  # type: ignore[arg-type]
        for row in csv.DictReader(lines)
    ]
    distinct = list(dict.fromkeys(shapes))
    return distinct if every else [shape for shape in distinct if _is_quick(shape)]


def _is_quick(shape: LayerShape) -> bool:
    return shape.batch_size != 2 and (shape.time_steps <= 187 or shape.hidden_size <= 1024)
