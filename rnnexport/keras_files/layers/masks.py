"""What makes, joins and applies masks: true where a step counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers.layer import KerasLayer, Shape, broadcast


@dataclass(frozen=True, slots=True)
class Masking(KerasLayer):
    """Zeros where a step does not count; the mask is made by `NotEqual` and `AnyTrue`."""

    mask_value: float

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Masking layer."""
        return cls(options.number("mask_value", 0.0))


@dataclass(frozen=True, slots=True)
class NotEqual(KerasLayer):
    """Where an element is not this value."""

    value: float


@dataclass(frozen=True, slots=True)
class AnyTrue(KerasLayer):
    """Whether any element along the last axis is true."""

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read an Any operation."""
        options.choice("axis", (-1, [-1], len(inputs[0]) - 1), -1)
        options.choice("keepdims", (False,), False)
        return cls()

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """One axis less."""
        return [inputs[0][:-1]]


@dataclass(frozen=True, slots=True)
class Logical(KerasLayer):
    """Of two masks, element by element."""

    operation: Literal["or", "and"]

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a LogicalOr or LogicalAnd operation."""
        return cls("or" if options.class_name == "LogicalOr" else "and")

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """The common shape."""
        return [broadcast(inputs)]


@dataclass(frozen=True, slots=True)
class ExpandDims(KerasLayer):
    """One axis more, of size 1."""

    axis: int

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read an ExpandDims operation."""
        return cls(options.whole("axis", least=-len(inputs[0]) - 1) % (len(inputs[0]) + 1))

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """One axis more."""
        return [(*inputs[0][: self.axis], 1, *inputs[0][self.axis :])]


@dataclass(frozen=True, slots=True)
class FilledLike(KerasLayer):
    """All true or all false, in the shape of the input."""

    value: bool

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read an OnesLike or ZerosLike operation."""
        options.ignore("dtype")
        return cls(options.class_name == "OnesLike")


@dataclass(frozen=True, slots=True)
class Unchanged(KerasLayer):
    """A mask as it is."""

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a ConvertToTensor operation."""
        options.ignore("dtype", "sparse", "ragged")
        return cls()


@dataclass(frozen=True, slots=True)
class Select(KerasLayer):
    """The first input where the second, a mask, is true, and the third or a number elsewhere."""

    otherwise: float = 0.0


MASK_OPERATIONS: dict[str, type[KerasLayer]] = {
    "Any": AnyTrue,
    **dict.fromkeys(("LogicalOr", "LogicalAnd"), Logical),
    "ExpandDims": ExpandDims,
    **dict.fromkeys(("OnesLike", "ZerosLike"), FilledLike),
    "ConvertToTensor": Unchanged,
}
"""What Keras 3 writes into a file for the masks of its layers, by class; `NotEqual` has its value in the call."""
