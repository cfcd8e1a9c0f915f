"""Which values a file keeps in fewer bits than float32: each is rounded once more than the evaluator's own rounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FLOAT16, BFLOAT16 = 10, 16
HALF_UNITS = {FLOAT16: 2.0**-11, BFLOAT16: 2.0**-8}
"""How much rounding to the format changes a number at most, relative to it."""


def narrow_values(model: Any) -> dict[str, int]:
    """Return the `TensorProto.DataType` of each value of a `ModelProto` that is float16 or bfloat16, in bodies too."""
    import onnx

    if not any(_mentions(graph) for graph in _graphs(model.graph)):
        return {}
    inferred = onnx.shape_inference.infer_shapes(model)
    return {
        value.name: value.type.tensor_type.elem_type
        for graph in _graphs(inferred.graph)
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.tensor_type.elem_type in HALF_UNITS
    }


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _mentions(graph: Any) -> bool:
    """Whether an input, a constant or a cast is narrow; nothing else brings such values in."""
    types = {value.type.tensor_type.elem_type for value in graph.input}
    types |= {tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            types |= {attribute.t.data_type, attribute.i if attribute.name in ("to", "dtype") else 0}
    return bool(types & HALF_UNITS.keys())
