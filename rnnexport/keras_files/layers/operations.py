"""Operations of `keras.ops` in a Functional model: arithmetic, functions, parts, sums. Unlike layers they end masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from rnnexport.keras_files.activations import Activation
from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers.dense import Activate
from rnnexport.keras_files.layers.layer import KerasLayer, Shape, broadcast
from rnnexport.keras_files.layers.masks import ExpandDims
from rnnexport.keras_files.layers.merging import Concatenate
from rnnexport.keras_files.layers.normalization import Softmax
from rnnexport.keras_files.layers.shaping import Permute

ARITHMETIC = {
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Divide": "Div",
    "TrueDivide": "Div",
    "Power": "Pow",
    "Maximum": "Max",
    "Minimum": "Min",
}
"""The ONNX operator of each, by the operation's class in a file."""

_FUNCTIONS = {
    "Absolute": "absolute",
    "Exp": "exponential",
    "Log": "log",
    "Negative": "negative",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Sqrt": "sqrt",
    "Square": "square",
    "Tanh": "tanh",
}
"""The function of each that works element by element."""

_OF_AXES = ("Concatenate", "ExpandDims", "GetItem", "Max", "Mean", "Min", "Softmax", "Squeeze", "Sum", "Transpose")
OPERATIONS = frozenset((*ARITHMETIC, *_FUNCTIONS, *_OF_AXES))
"""All classes of operations; some are names of layers, too."""


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


@dataclass(frozen=True, slots=True)
class ReduceOperation(KerasLayer):
    """One number of all along some axes."""

    operation: Literal["Mean", "Sum", "Max", "Min"]
    axes: tuple[int, ...]
    keepdims: bool

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Mean, Sum, Max or Min operation."""
        options.choice("initial", (None,), None)
        axes = _axes(options, len(inputs[0]))
        return cls(options.class_name, axes, options.flag("keepdims", False))  # type: ignore[arg-type]

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """Without the axes, or with 1 in their places."""
        sizes = enumerate(inputs[0])
        if self.keepdims:
            return [tuple(1 if axis in self.axes else size for axis, size in sizes)]
        return [tuple(size for axis, size in sizes if axis not in self.axes)]


@dataclass(frozen=True, slots=True)
class SqueezeOperation(KerasLayer):
    """Without axes of size 1."""

    axes: tuple[int, ...]

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Squeeze operation."""
        axes = _axes(options, len(inputs[0]))
        if any(inputs[0][axis] != 1 for axis in axes):
            options.refuse(f"its axes {list(axes)} are not of size 1")
        return cls(axes)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """Without the axes."""
        return [tuple(size for axis, size in enumerate(inputs[0]) if axis not in self.axes)]


def _axes(options: LayerOptions, rank: int) -> tuple[int, ...]:
    given = options.value("axis", None)
    axes = [given] if isinstance(given, int) else given
    if axes is None or any(axis % rank == 0 for axis in axes):
        options.refuse("it takes the rows of a batch together")
    return tuple(sorted(axis % rank for axis in axes))


def read_operation(options: LayerOptions, inputs: Sequence[Shape]) -> KerasLayer | None:
    """The operation on tensors that options describe; `None` where it is not known."""
    match options.class_name:
        case name if name in _FUNCTIONS:
            return Activate(Activation(_FUNCTIONS[name]))
        case "Mean" | "Sum" | "Max" | "Min":
            return ReduceOperation.read(options, inputs)
        case "Squeeze":
            return SqueezeOperation.read(options, inputs)
        case "ExpandDims":
            return ExpandDims.read(options, inputs)
        case "Concatenate":
            return Concatenate.read(options, inputs)
        case "Softmax":
            return Softmax.read(options, inputs)
        case "Transpose":
            order = options.value("axes", None) or [*reversed(range(len(inputs[0])))]
            if order[0] != 0 or sorted(order) != [*range(len(inputs[0]))]:
                options.refuse(f"it puts the axes in the order {order}; the batch has to stay the first")
            return Permute(tuple(order))
    return None
