"""Layers of several inputs: computed element by element, put together, or multiplied as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers.layer import KerasLayer, Shape, broadcast

Operation = Literal["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]


@dataclass(frozen=True, slots=True)
class Merge(KerasLayer):
    """All inputs, element by element; where one has fewer axes, it gets new ones behind the batch."""

    operation: Operation

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read an Add, Subtract, Multiply, Average, Maximum or Minimum layer."""
        operation = options.class_name
        if len(inputs) < 2 or (operation == "Subtract" and len(inputs) > 2):
            options.refuse(f"it has {len(inputs)} inputs")
        return cls(operation)  # type: ignore[arg-type]

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """The common shape."""
        rank = max(map(len, inputs))
        return [broadcast([(shape[0], *(1,) * (rank - len(shape)), *shape[1:]) for shape in inputs])]


@dataclass(frozen=True, slots=True)
class Concatenate(KerasLayer):
    """All inputs, one after another along an axis."""

    axis: int

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Concatenate layer."""
        if len({len(shape) for shape in inputs}) > 1:
            options.refuse("its inputs have different numbers of dimensions")
        axis = options.axis("axis", len(inputs[0]))
        if axis == 0:
            options.refuse("it joins batches")
        return cls(axis)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """The sum of the sizes along the axis."""
        sizes = [shape[self.axis] for shape in inputs]
        others = [tuple(1 if axis == self.axis else size for axis, size in enumerate(shape)) for shape in inputs]
        common = list(broadcast(others))
        whole = [size for size in sizes if isinstance(size, int)]
        common[self.axis] = sum(whole) if len(whole) == len(sizes) else "+".join(map(str, sizes))
        return [tuple(common)]


@dataclass(frozen=True, slots=True)
class Dot(KerasLayer):
    """Products of two inputs, summed along an axis of each."""

    axes: tuple[int, int]
    normalize: bool
    """Whether both are divided by their lengths along these axes first."""
    least: float
    """What a length is at least."""

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Dot layer."""
        if len(inputs) != 2 or any(not 2 <= len(shape) <= 3 for shape in inputs):
            options.refuse("it has not two inputs of 2 or 3 dimensions each")
        given = options.value("axes")
        pair = [given, given] if isinstance(given, int) else list(given)
        axes = tuple(axis % len(shape) for axis, shape in zip(pair, inputs, strict=True))
        if 0 in axes:
            options.refuse("it sums over the batch")
        return cls((axes[0], axes[1]), options.flag("normalize", False), 1e-6 if options.keras_2 else 1e-7)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """[batch, axes of the first, axes of the second] without those that were summed; at least two."""
        first, second = (shape[1:axis] + shape[axis + 1 :] for axis, shape in zip(self.axes, inputs, strict=True))
        return [(inputs[0][0], *(first + second or (1,)))]
