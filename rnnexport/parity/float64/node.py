"""What an operator's implementation is told of its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Kernel = Callable[..., tuple[Any, ...]]
"""Takes the node and its inputs in the operator's order, `None` for those left out; returns the outputs in order."""


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node of a graph, whose floating-point attributes and types are already float64."""

    op_type: str
    since_version: int
    """The version of the operator set in which this form of the operator came."""
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    proto: Any
    """The `onnx.NodeProto`."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or `default` where the node does not set it."""
        return self.attributes.get(name, default)
