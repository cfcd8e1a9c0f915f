"""Outputs declare the shape that the graph gives them.

1. A declared size that shape inference contradicts gives way to the inferred one.
2. A missing shape or size is filled in where inference knows it. Names of dimensions stay.
"""

from __future__ import annotations

import contextlib

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

_INFERRED = "rnnexport.inferred_shape"


class OutputShapes(ir.passes.InPlacePass):
    """Declare inferred shapes; see the rules of this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place."""
        wrong = contradictions(model)
        for value, inferred in wrong:
            declared = value.shape if value.shape is not None and len(value.shape) == len(inferred) else inferred
            value.shape = ir.Shape(
                [new if isinstance(new, int) else old for old, new in zip(declared, inferred, strict=True)]
            )
        return ir.passes.PassResult(model, modified=bool(wrong))


def infer_shapes(model: ir.Model) -> None:
    """Infer the shapes of all values in place; outputs keep what they declare, and remember what was inferred."""
    declared = [value.shape for value in model.graph.outputs]
    for value in model.graph.outputs:
        value.shape = None
    with contextlib.suppress(Exception):  # then nothing is known, and nothing contradicts
        ShapeInferencePass()(model)
    for value, shape in zip(model.graph.outputs, declared, strict=True):
        value.meta[_INFERRED], value.shape = value.shape, shape


def contradictions(model: ir.Model) -> list[tuple[ir.Value, ir.Shape]]:
    """Return each output whose declared shape is missing or wrong, with the inferred one."""
    inferred = model
    if any(_INFERRED not in value.meta for value in model.graph.outputs):
        inferred = model.clone()
        infer_shapes(inferred)
    shapes = [value.meta[_INFERRED] for value in inferred.graph.outputs]
    known = [(value, shape) for value, shape in zip(model.graph.outputs, shapes, strict=True) if shape is not None]
    return [(value, shape) for value, shape in known if _differs(value.shape, shape)]


def _differs(declared: ir.Shape | None, inferred: ir.Shape) -> bool:
    """Whether a number is declared that is not the inferred one, or is known and not declared, or all is missing."""
    if declared is None or len(declared) != len(inferred):
        return True
    return any(isinstance(new, int) and old != new for old, new in zip(declared, inferred, strict=True))
