"""Declared shapes of outputs."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.passes.output_shapes import OutputShapes, contradictions, contradicts, dynamic_dimensions


class _Declared:
    """What both rules share."""

    false: bool
    """Whether the rule is about declarations that are false, or about those that say too little."""

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Compare with what shape inference finds."""
        dynamic = dynamic_dimensions(checked.model)
        for value, inferred in contradictions(checked.model):
            if contradicts(value.shape, inferred, dynamic) is self.false:
                declared = "no shape" if value.shape is None else list(map(str, value.shape))
                yield value.name or "", f"declared {declared}, inferred {[str(size) for size in inferred]}"

    def repair(self) -> ir.passes.InPlacePass:
        """Declare what was inferred."""
        return OutputShapes()


class WrongOutputShape(_Declared, Rule):
    """An output that is declared with another rank or number than the graph gives.

    Exporters declare what the example gave, converters leave the declaration as it was before they changed the graph.

    Example:
        output y: float[batch, 25, 64]         # the graph gives [batch, time, 64]
    """

    name = "output-shape"
    severity = "warning"
    title = "the declared shape of an output is wrong"
    consequences = {
        "every runtime": "callers that allocate by the declaration allocate wrongly",
        "ONNX Runtime": "warns when it loads the file, or at each call",
    }
    false = True


class VagueOutputShape(_Declared, Rule):
    """An output without a shape, or with a name where the size is always the same.

    Nothing is computed wrongly; callers that read the size of a buffer from the file cannot.

    Example:
        output y: float[batch, time, d0]       # d0 is 64 in every call
    """

    name = "vague-output-shape"
    severity = "note"
    title = "the declared shape of an output leaves out what is known"
    consequences = {"every runtime": "right; callers cannot read the size off the file"}
    false = False
