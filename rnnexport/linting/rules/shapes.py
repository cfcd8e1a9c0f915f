"""Declared shapes of outputs."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.linting.rule import Rule
from rnnexport.passes.output_shapes import OutputShapes, contradictions


class WrongShapes(Rule):
    """Shapes that the graph itself contradicts, or that are missing."""

    name = "output-shape"
    severity = "warning"
    title = "the declared shape of an output is missing or wrong"
    consequences = {"every runtime": "callers that allocate by the declaration allocate wrongly; ONNX Runtime warns"}

    def check(self, model: ir.Model) -> Iterator[tuple[str, str]]:
        """Compare with what shape inference finds."""
        for value, inferred in contradictions(model):
            declared = "no shape" if value.shape is None else list(map(str, value.shape))
            yield value.name or "", f"declared {declared}, inferred {[str(size) for size in inferred]}"

    def repair(self) -> ir.passes.InPlacePass:
        """Declare what was inferred."""
        return OutputShapes()
