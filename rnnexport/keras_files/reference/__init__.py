"""A typed model in NumPy, by Keras's own equations; nothing here is shared with what writes graphs."""

from __future__ import annotations

from rnnexport.keras_files.reference.evaluation import evaluate

__all__ = ["evaluate"]
