"""The scale of values that a model is made for, where the first thing that it does with an input is to standardise it.

1. Sub, Add, Mul and Div with constants, behind changes of type and order of axes, and a BatchNormalization at the end
   are the map z = factor · x + offset, which takes values of mean -offset/factor and deviation 1/factor to usual ones.
2. Where something else reads the input, too, but for its shape, or where the map is 0 somewhere or differs along more
   than one axis, the scale is not known. Nor is it where values only become larger, as of audio that is then 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.bundle.manifest import Scale
from rnnexport.onnx_files.nodes import constant_tensor, optional_input

_LARGEST = 4096
"""Elements of a constant that is looked at."""
_ELEMENTWISE = ("Add", "Div", "Mul", "Sub")
_NORMALIZATION_MEAN, _NORMALIZATION_VARIANCE = 3, 4
_FLOATING = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class _Map:
    """factor · x + offset, of the rank of the input, which a value is with its axes in another order."""

    factor: NDArray[np.float64]
    offset: NDArray[np.float64]
    order: tuple[int, ...]
    """Of each of the value's axes, the input's."""

    def constant(self, array: NDArray[Any]) -> NDArray[np.float64]:
        """A constant that goes with the value, with the input's order of axes."""
        wide = array.astype(np.float64).reshape((1,) * (len(self.order) - array.ndim) + array.shape)
        return np.transpose(wide, np.argsort(self.order))


def scale_of(value: ir.Value) -> Scale | None:
    """The scale of a graph input; `None` where the graph does not tell."""
    if value.shape is None or value.dtype in (None, ir.DataType.BOOL, ir.DataType.STRING):
        return None
    rank = len(value.shape)
    found = _Map(np.ones((1,) * rank), np.zeros((1,) * rank), tuple(range(rank)))
    while step := _next(value, found):
        value, found = step
    return _scale(found)


def _next(value: ir.Value, so_far: _Map) -> tuple[ir.Value, _Map] | None:
    """What the only reader makes of a value; `None` where it is something else than these rules know."""
    readers = [(node, position) for node, position in value.uses() if node.op_type not in ("Shape", "Size")]
    if len(readers) != 1 or value.is_graph_output():
        return None
    ((node, position),) = readers
    if node.domain not in ("", "ai.onnx"):
        return None
    made = node.outputs[0]
    if node.op_type == "Identity" or (node.op_type == "Cast" and node.attributes.get_int("to", 0) in _FLOATING):
        return made, so_far
    if node.op_type == "Transpose":
        rank = len(so_far.order)
        permutation = node.attributes.get_ints("perm") or range(rank)[::-1]
        if sorted(permutation) != [*range(rank)]:
            return None
        return made, _Map(so_far.factor, so_far.offset, tuple(so_far.order[axis] for axis in permutation))
    try:
        rule = _elementwise if node.op_type in _ELEMENTWISE else _normalization
        changed = rule(node, position, so_far)
    except (TypeError, ValueError):  # of constants whose shape or type contradicts the node
        return None
    return None if changed is None else (made, changed)


def _elementwise(node: ir.Node, position: int, so_far: _Map) -> _Map | None:
    other = constant_tensor(optional_input(node, 1 - position))
    if other is None or len(other.shape) > len(so_far.order) or other.size > _LARGEST:
        return None
    constant, factor, offset = so_far.constant(other.numpy()), so_far.factor, so_far.offset
    with np.errstate(all="ignore"):
        match node.op_type:
            case "Add":
                offset = offset + constant
            case "Sub":
                offset = offset - constant if position == 0 else constant - offset
                factor = factor if position == 0 else -factor
            case "Mul":
                factor, offset = factor * constant, offset * constant
            case _ if position == 0:
                factor, offset = factor / constant, offset / constant
            case _:
                return None
    return _Map(factor, offset, so_far.order)


def _normalization(node: ir.Node, position: int, so_far: _Map) -> _Map | None:
    """(z - mean) / √(variance + ε), along the second axis, without what BatchNormalization makes of it then."""
    tensors = [constant_tensor(optional_input(node, i)) for i in (_NORMALIZATION_MEAN, _NORMALIZATION_VARIANCE)]
    mean, variance = (None if tensor is None or tensor.size > _LARGEST else tensor.numpy() for tensor in tensors)
    rank = len(so_far.order)
    if node.op_type != "BatchNormalization" or position != 0 or mean is None or variance is None or rank < 2:
        return None
    along = (-1,) + (1,) * (rank - 2)
    with np.errstate(all="ignore"):
        deviation = np.sqrt(variance.astype(np.float64) + node.attributes.get_float("epsilon", 1e-5))
    center, width = so_far.constant(mean.reshape(along)), so_far.constant(deviation.reshape(along))
    return _Map(so_far.factor / width, (so_far.offset - center) / width, so_far.order)


def _scale(found: _Map) -> Scale | None:
    with np.errstate(all="ignore"):
        mean, deviation = np.broadcast_arrays(-found.offset / found.factor, 1 / np.abs(found.factor))
    mean = mean + 0.0  # not -0
    axes = [axis for axis, size in enumerate(mean.shape) if size != 1]
    if len(axes) > 1 or not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        return None
    if np.all(mean == 0) and np.all(deviation <= 1):
        return None
    return Scale(mean=tuple(mean.ravel()), deviation=tuple(deviation.ravel()), axis=axes[0] if axes else None)
