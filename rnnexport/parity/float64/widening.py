"""Floating-point constants of any width as float64, and a node's types likewise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rounding = Callable[[NDArray[np.float64]], NDArray[np.float64]]

FLOATS = (1, 10, 11, 16)  # TensorProto.FLOAT, FLOAT16, DOUBLE, BFLOAT16
_TYPE_ATTRIBUTES = ("to", "dtype", "output_datatype")


def wide(array: Any) -> Any:
    """Return arrays of floating-point numbers as float64, and anything else as it is."""
    if isinstance(array, list):
        return [wide(item) for item in array]
    if not isinstance(array, np.ndarray):
        return array
    is_float = np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"
    return array.astype(np.float64) if is_float else array


def wide_tensor(tensor: Any, constant: Rounding) -> NDArray[Any]:
    """Read a `TensorProto`; floating-point numbers become float64, and pass through `constant`."""
    from onnx import numpy_helper

    array: NDArray[Any] = wide(numpy_helper.to_array(tensor))
    return constant(array) if array.dtype == np.float64 else array


def with_floats(node: Any, element: int, constant: Rounding = lambda x: x) -> Any:
    """Copy a `NodeProto` with every floating-point type in it, bodies included, as the element type given."""
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        _retype_attribute(attribute, element, constant)
    return copy


def _retype_attribute(attribute: Any, element: int, constant: Rounding) -> None:
    for tensor in [attribute.t, *attribute.tensors]:
        _retype_tensor(tensor, element, constant)
    for graph in [attribute.g, *attribute.graphs]:
        for tensor in graph.initializer:
            _retype_tensor(tensor, element, constant)
        for value in [*graph.input, *graph.output, *graph.value_info]:
            if value.type.tensor_type.elem_type in FLOATS:
                value.type.tensor_type.elem_type = element
        for node in graph.node:
            for inner in node.attribute:
                _retype_attribute(inner, element, constant)
    if attribute.name in _TYPE_ATTRIBUTES and attribute.i in FLOATS:
        attribute.i = element


def _retype_tensor(tensor: Any, element: int, constant: Rounding) -> None:
    from onnx import helper, numpy_helper

    if tensor.data_type in FLOATS:
        array = wide_tensor(tensor, constant).astype(helper.tensor_dtype_to_np_dtype(element))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
