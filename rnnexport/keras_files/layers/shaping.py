"""Layers that change the shape, and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers.layer import KerasLayer, Shape, known


@dataclass(frozen=True, slots=True)
class Reshape(KerasLayer):
    """Another shape for each row of the batch, all of whose sizes are known."""

    target: tuple[int, ...]

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Reshape or Flatten layer."""
        sizes = [known(options, inputs[0], axis) for axis in range(1, len(inputs[0]))]
        if options.class_name == "Flatten":
            options.choice("data_format", ("channels_last", None), None)
            return cls((math.prod(sizes),))
        target = [int(size) for size in options.value("target_shape")]
        if target.count(-1) == 1:
            target[target.index(-1)] = math.prod(sizes) // -math.prod(target)
        if math.prod(target) != math.prod(sizes):
            options.refuse(f"its target_shape {target} has another number of elements than its input {sizes}")
        return cls(tuple(target))

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """[batch, *target]."""
        return [(inputs[0][0], *self.target)]


@dataclass(frozen=True, slots=True)
class Permute(KerasLayer):
    """Axes in another order; the batch stays the first."""

    order: tuple[int, ...]

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Permute layer."""
        order = (0, *(int(axis) for axis in options.value("dims")))
        if sorted(order) != list(range(len(inputs[0]))):
            options.refuse(f"its dims {list(order[1:])} are not the axes of its input")
        return cls(order)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """The same sizes in another order."""
        return [tuple(inputs[0][axis] for axis in self.order)]


@dataclass(frozen=True, slots=True)
class Repeat(KerasLayer):
    """[batch, features] → [batch, count, features]."""

    count: int

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a RepeatVector layer."""
        if len(inputs[0]) != 2:
            options.refuse(f"its input has {len(inputs[0])} dimensions, not 2")
        return cls(options.whole("n"))

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """[batch, count, features]."""
        return [(inputs[0][0], self.count, inputs[0][1])]


@dataclass(frozen=True, slots=True)
class Pad(KerasLayer):
    """Steps of zeros before and after, or fewer steps where a number is negative."""

    before: int
    after: int

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a ZeroPadding1D or Cropping1D layer."""
        crops = options.class_name == "Cropping1D"
        given = options.value("cropping" if crops else "padding", 1)
        before, after = (given, given) if isinstance(given, int) else given
        options.choice("data_format", ("channels_last", None), None)
        return cls(-before, -after) if crops else cls(before, after)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """More or fewer steps."""
        batch, time, *rest = inputs[0]
        more = self.before + self.after
        steps = time + more if isinstance(time, int) else f"{time}{more:+d}" if more else time
        return [(batch, steps, *rest)]


@dataclass(frozen=True, slots=True)
class FoldTime(KerasLayer):
    """[batch, time, …] → [batch · time, …], what `TimeDistributed` gives its layer."""

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """One axis less."""
        batch, time, *rest = inputs[0]
        return [(f"{batch}*{time}", *rest)]


@dataclass(frozen=True, slots=True)
class UnfoldTime(KerasLayer):
    """[batch · time, …] → [batch, time, …], the first two sizes being those of the second input."""

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """One axis more."""
        return [(*inputs[1][:2], *inputs[0][1:])]
