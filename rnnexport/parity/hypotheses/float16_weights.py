"""Weights that went through float16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from rnnexport.parity.hypothesis import Evidence, Hypothesis, Prediction, Variant, evaluated
from rnnexport.parity.onnx_float64 import Alteration
from rnnexport.parity.rounding import to_float16

_ENOUGH = 32


class Float16Weights(Hypothesis):
    """The weights are stored in float16, the arithmetic is that of float32."""

    name: ClassVar[str] = "weights stored in fp16"
    remedy: ClassVar[str] = (
        "save without compression: openvino.save_model(..., compress_to_fp16=False), no float16 conversion"
    )

    def variants(self) -> Iterator[Variant]:
        """Every constant rounded."""
        yield Variant("every weight was rounded to float16", Alteration(constant=to_float16))

    def predictions(self, evidence: Evidence, node: str | None = None) -> Iterator[Prediction]:
        """As always; where the right graph is not known, the file's own weights tell."""
        if evidence.right is not None:
            yield from super().predictions(evidence, node)
        elif _all_representable(evidence):
            yield from evaluated(evidence.file, evidence, "every weight in the file is a float16 number")


def _all_representable(evidence: Evidence) -> bool:
    from onnx import TensorProto, numpy_helper

    weights = [
        numpy_helper.to_array(tensor).astype(np.float64)
        for tensor in evidence.file.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= _ENOUGH
    ]
    return bool(weights) and all(np.array_equal(to_float16(array), array) for array in weights)
