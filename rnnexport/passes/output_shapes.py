"""Outputs declare the shape that the graph gives them.

1. A declared size that shape inference contradicts gives way to the inferred one.
2. A missing shape or size is filled in where inference knows it. Names of dimensions stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from rnnexport.onnx_files.reading import free_dynamic_sizes

_INFERRED = "rnnexport.inferred_shape"


class OutputShapes(ir.passes.InPlacePass):
    """Declare inferred shapes; see the rules of this module. A second run changes nothing."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place."""
        wrong, dynamic = contradictions(model), dynamic_dimensions(model)
        for value, inferred in wrong:
            declared = value.shape if value.shape is not None and len(value.shape) == len(inferred) else inferred
            value.shape = ir.Shape(
                [
                    new if isinstance(new, int) or (isinstance(old, int) and new.value in dynamic) else old
                    for old, new in zip(declared, inferred, strict=True)
                ]
            )
        return ir.passes.PassResult(model, modified=bool(wrong))


def infer_shapes(model: ir.Model) -> None:
    """Infer the shapes of all values in place; outputs keep what they declare, and remember what was inferred."""
    declared = [value.shape for value in model.graph.outputs]
    for value in model.graph.outputs:
        value.shape = None
    with contextlib.suppress(Exception):  # then nothing is known, and nothing contradicts
        ShapeInferencePass()(model)
    free_dynamic_sizes(model.graph.outputs)  # those of bodies may have come through
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
    dynamic = dynamic_dimensions(model)
    return [(v, shape) for v, shape in known if _differs(v.shape, shape) or contradicts(v.shape, shape, dynamic)]


def contradicts(declared: ir.Shape | None, inferred: ir.Shape, dynamic: Container[str | None]) -> bool:
    """Whether the declaration says something false: another rank or number, or a number for a dynamic dimension.

    ONNX Runtime 1.32 warns of these, and of no others: names are nothing to it.
    """
    if declared is None:
        return False
    if len(declared) != len(inferred):
        return True
    pairs = [(old, new) for old, new in zip(declared, inferred, strict=True) if isinstance(old, int)]
    return any(old != new if isinstance(new, int) else new.value in dynamic for old, new in pairs)


def dynamic_dimensions(model: ir.Model) -> set[str | None]:
    """The names of the inputs' dimensions that have no number."""
    shapes = [value.shape for value in model.graph.inputs if value.shape is not None]
    return {size.value for shape in shapes for size in shape if not isinstance(size, int) and size.value}


def _differs(declared: ir.Shape | None, inferred: ir.Shape) -> bool:
    """Whether a number is declared that is not the inferred one, or is known and not declared, or all is missing."""
    if declared is None or len(declared) != len(inferred):
        return True
    return any(isinstance(new, int) and old != new for old, new in zip(declared, inferred, strict=True))
