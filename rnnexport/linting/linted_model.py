"""What rules are given: a graph, and what several of them ask of it, found once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from rnnexport.inspecting.decomposed_cells import DecomposedCell
from rnnexport.inspecting.decomposed_cells import decomposed_cells as find_decomposed_cells


@dataclass(frozen=True)
class LintedModel:
    """A graph that is checked. Its shapes are inferred, and no rule changes it."""

    model: ir.Model

    @cached_property
    def decomposed_cells(self) -> list[DecomposedCell]:
        """LSTM and GRU cells that are written as single operators."""
        return find_decomposed_cells(self.model)
