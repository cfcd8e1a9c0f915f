"""What every layer of a typed model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from rnnexport.keras_files.layer_options import LayerOptions, SizeNeededError

Shape = tuple[int | str, ...]
"""A `str` is a dimension whose size is left open; the batch is the first."""


class KerasLayer:
    """A layer with its weights. What it computes stands in `reference`, how it is written in `writing`."""

    passes_mask: ClassVar[bool] = False
    """Whether the first input's mask is that of the outputs, too; Keras's `supports_masking`."""
    takes_mask: ClassVar[bool] = False
    """Whether its result depends on the masks of its inputs."""
    per_element: ClassVar[bool] = False
    """Whether it treats all axes but the last alike, so that `TimeDistributed` changes nothing."""
    reads_integers: ClassVar[bool] = False

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read the options of a layer that is called on inputs of these shapes."""
        raise NotImplementedError

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """The shapes of the outputs; by default that of the first input."""
        return [inputs[0]]


class SameSizeError(Exception):
    """A dimension that was left open must be of one size with another, or of this size."""

    def __init__(self, first: str, second: str | int) -> None:
        super().__init__(first, second)
        self.first, self.second = first, second


def known(options: LayerOptions, shape: Shape, axis: int) -> int:
    """The size of an axis that must be known.

    Raises:
        SizeNeededError: It was left open.
    """
    size = shape[axis]
    if isinstance(size, str):
        raise SizeNeededError(size, options.name, options.class_name)
    return size


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape of what is computed element by element.

    Raises:
        SameSizeError: An open dimension meets another, or a size.
    """
    rank = max(map(len, shapes))
    result: list[int | str] = []
    for sizes in zip(*[(1,) * (rank - len(shape)) + shape for shape in shapes], strict=True):
        others = [size for size in dict.fromkeys(sizes) if size != 1]
        openly = [size for size in others if isinstance(size, str)]
        if openly and len(others) > 1:
            raise SameSizeError(openly[0], next(size for size in others if size != openly[0]))
        result.append(others[0] if others else 1)
    return tuple(result)
