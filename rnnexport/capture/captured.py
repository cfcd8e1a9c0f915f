"""What capturing a module gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Captured:
    """An ONNX graph, and what the caller should know about how it came to be."""

    model: ir.Model
    notes: list[str] = field(default_factory=list)
    """Sentences for people."""
