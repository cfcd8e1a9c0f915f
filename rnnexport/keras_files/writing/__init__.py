"""A typed model as an ONNX graph: fused operators for recurrent layers, batch and time dynamic."""

from __future__ import annotations

from rnnexport.keras_files.writing.model_graph import write_model

__all__ = ["write_model"]
