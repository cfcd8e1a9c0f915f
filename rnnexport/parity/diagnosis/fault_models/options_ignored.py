"""Peepholes and coupled gates are read past."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from rnnexport.onnx_files.operators import P
from rnnexport.parity.diagnosis.fault_model import FaultModel, NodeInputs, Variant, change_node


class OptionsIgnored(FaultModel):
    """An LSTM is computed as if it had no peepholes, or as if its input and forget gates were not coupled.

    Example:
        `Y = LSTM <input_forget=1> (x, W, R, B)` in OpenVINO, which says nothing of it.
    """

    name: ClassVar[str] = "layer options ignored"
    remedy: ClassVar[str] = "run the file in a runtime that computes them, such as ONNX Runtime"

    def variants(self) -> Iterator[Variant]:
        """Each option."""
        yield Variant("the peepholes (P) of the LSTM are ignored", change_node(_without_peepholes))
        yield Variant("input_forget of the LSTM is ignored", change_node(_uncoupled))


def _without_peepholes(_: str, inputs: NodeInputs, __: dict[str, Any]) -> None:
    if len(inputs) > P:
        inputs[P] = None


def _uncoupled(_: str, __: NodeInputs, attributes: dict[str, Any]) -> None:
    attributes.pop("input_forget", None)
