"""PyTorch to ONNX, one fused node per recurrent layer.

The names are imported when they are first used: a plain stack is written without loading the exporter.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnexport.capture.captured import Captured
    from rnnexport.capture.capturing import capture
    from rnnexport.capture.classifier_graph import capture_plain
    from rnnexport.capture.inputs import InputSpec, parse_input_spec
    from rnnexport.capture.opsets import DEFAULT_OPSET, OPSETS
    from rnnexport.capture.tracing import call_module

__all__ = [
    "DEFAULT_OPSET",
    "OPSETS",
    "Captured",
    "InputSpec",
    "call_module",
    "capture",
    "capture_plain",
    "parse_input_spec",
]

_HOMES = {
    "DEFAULT_OPSET": "opsets",
    "OPSETS": "opsets",
    "Captured": "captured",
    "InputSpec": "inputs",
    "call_module": "tracing",
    "capture": "capturing",
    "capture_plain": "classifier_graph",
    "parse_input_spec": "inputs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rnnexport.capture' has no attribute {name!r}")
    return getattr(import_module(f"rnnexport.capture.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
