"""Hands a traced program to PyTorch's ONNX exporter, and does without what it wastes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from onnxscript._internal import values
from torch._C import _functorch

from rnnexport.capture.failures import translation_error
from rnnexport.capture.tracing import quiet


def translate(program: torch.export.ExportedProgram, opset_version: int) -> torch.onnx.ONNXProgram:
    """Write each operator of `program` in ONNX; optimization comes later, when recurrent layers are lowered.

    Raises:
        ExportError: An operator has no ONNX form; the message names its place in the module's code.
    """
    depth = _functorch.get_dynamic_layer_stack_depth()
    try:
        with quiet(), _signatures_unread(), torch.no_grad():
            result = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False, opset_version=opset_version)
    except Exception as exc:
        _functorch.pop_dynamic_layer_stack_and_undo_to_depth(depth)  # what vmap leaves open changes every later call
        raise translation_error(exc, program) from exc
    assert result is not None
    return result


@contextmanager
def _signatures_unread() -> Iterator[None]:
    """Keep onnxscript from parsing the source of its 500 translations at every export, for their domain alone.

    That is a third of a second, half of a warm capture. Where onnxscript looks different, nothing is replaced.
    """
    kind = getattr(values, "TracedOnnxFunction", None)
    parsed = vars(kind).get("function_ir") if kind is not None else None
    if kind is None or not isinstance(parsed, property):
        yield
        return
    try:
        kind.function_ir = property(lambda function: SimpleNamespace(domain=function.opset.domain))
        yield
    finally:
        kind.function_ir = parsed
