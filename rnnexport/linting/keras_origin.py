"""Whether a file was written from a Keras model, which `rnnexport export` reads itself."""

from __future__ import annotations

import onnx_ir as ir

_OWN_NAMES = "keras_tensor"
"""How Keras 3 names the inputs that have no name."""


def keras_exporter(model: ir.Model) -> str | None:
    """Return what wrote the file, `None` where it is not known for Keras models.

    Keras writes by PyTorch's exporter, which leaves no other mark than the names of inputs, or by tf2onnx.
    """
    if model.producer_name == "tf2onnx":
        return " ".join(["tf2onnx", *(model.producer_version or "").split()[:1]])
    if any((value.name or "").startswith(_OWN_NAMES) for value in model.graph.inputs):
        return "Keras"
    return None
