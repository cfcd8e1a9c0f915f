"""A typed model: calls of layers, one after another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rnnexport.keras_files.layers.layer import KerasLayer, Shape
from rnnexport.keras_files.weights import Weight

Kind = Literal["float", "int32", "int64", "bool"]


@dataclass(eq=False, slots=True)
class Tensor:
    """What a layer takes or gives."""

    name: str
    shape: Shape
    kind: Kind = "float"
    mask: Tensor | None = None
    """Which steps count, [batch, time]; `None` where all do."""


@dataclass(frozen=True, slots=True)
class LayerCall:
    """One call of a layer."""

    name: str
    layer: KerasLayer
    inputs: tuple[Tensor, ...]
    masks: tuple[Tensor | None, ...]
    """Of the inputs, as far as the layer reads them."""
    outputs: tuple[Tensor, ...]


@dataclass(slots=True)
class Model:
    """A whole model; calls stand in an order in which they can be made."""

    name: str
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    calls: list[LayerCall] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What its user should know, one sentence each."""
