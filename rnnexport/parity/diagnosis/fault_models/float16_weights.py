"""Weights that went through float16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnexport.onnx_files.operators import GATES, B
from rnnexport.parity.diagnosis.fault_model import (
    Evidence,
    FaultModel,
    NodeInputs,
    PredictedOutputs,
    Variant,
    change_node,
    evaluated,
)
from rnnexport.parity.onnx_float64 import Alteration
from rnnexport.parity.rounding import to_float16

_ENOUGH = 32
_SUMMED_GATES = {"LSTM": 4, "GRU": 2, "RNN": 1}


class Float16Weights(FaultModel):
    """The weights are stored in float16, the arithmetic is that of float32.

    Example:
        a model saved by OpenVINO's default, which compresses; errors near 1e-3 that are the same in every runtime.
    """

    name: ClassVar[str] = "weights stored in fp16"
    remedy: ClassVar[str] = (
        "save without compression: openvino.save_model(..., compress_to_fp16=False), no float16 conversion"
    )

    def variants(self) -> Iterator[Variant]:
        """Every constant rounded; or the sum of a bias's halves, as OpenVINO stores it."""
        says = "every weight was rounded to float16"
        yield Variant(says, Alteration(constant=to_float16))
        summed = change_node(_with_summed_bias).recurrent
        yield Variant(says, Alteration(summed, constant=lambda x: x if _may_be_bias(x) else to_float16(x)))

    def predictions(self, evidence: Evidence, node: str | None = None) -> Iterator[PredictedOutputs]:
        """As always; where the right graph is not known, the file's own weights tell."""
        if evidence.right is not None:
            yield from super().predictions(evidence, node)
        elif _all_representable(evidence):
            yield from evaluated(evidence.file, evidence, "every weight in the file is a float16 number")


def _may_be_bias(array: NDArray[np.float64]) -> bool:
    """[D, 2GH], with one or two directions."""
    return array.ndim == 2 and array.shape[0] <= 2


def _with_summed_bias(op_type: str, inputs: NodeInputs, _: dict[str, Any]) -> None:
    """Gates whose halves can be added up get the rounded sum in Wb; a GRU's candidate keeps both."""
    if inputs[B] is None:
        return
    directions = len(inputs[B])
    halves = np.array(inputs[B], np.float64).reshape(directions, 2, len(GATES[op_type]), -1)
    summed = _SUMMED_GATES[op_type]
    halves[:, 0, :summed] += halves[:, 1, :summed]
    halves[:, 1, :summed] = 0
    inputs[B] = to_float16(halves).reshape(directions, -1)


def _all_representable(evidence: Evidence) -> bool:
    from onnx import TensorProto, numpy_helper

    weights = [
        numpy_helper.to_array(tensor).astype(np.float64)
        for tensor in evidence.file.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= _ENOUGH
    ]
    return bool(weights) and all(np.array_equal(to_float16(array), array) for array in weights)
