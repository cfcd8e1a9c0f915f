"""What capturing a module gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from rnnexport.capture.inputs import SizeRange


@dataclass(frozen=True, slots=True)
class Condition:
    """What the trace took for granted of the sizes. Where the module works without it, the graph must do so, too."""

    text: str
    """Such as `time >= 5`; empty where it is arithmetic that says nothing to a reader."""
    dimensions: tuple[str, ...]
    counterexamples: tuple[Mapping[str, int], ...]
    """Sizes for which it does not hold."""


@dataclass(frozen=True, slots=True)
class Captured:
    """An ONNX graph, and what the caller should know about how it came to be."""

    model: ir.Model
    notes: list[str] = field(default_factory=list)
    """Sentences for people."""
    ranges: Mapping[str, SizeRange] = field(default_factory=dict)
    """The sizes of each symbolic dimension that the module takes."""
    conditions: list[Condition] = field(default_factory=list)
    cuts: list[str] = field(default_factory=list)
    """Places in the module's code that cut a dimension of any size into a fixed number of pieces."""
