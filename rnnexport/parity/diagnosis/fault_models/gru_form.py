"""The GRU's other equation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from rnnexport.parity.diagnosis.fault_model import FaultModel, NodeInputs, Variant, change_node


class GruForm(FaultModel):
    """The reset gate is applied on the other side of the matrix product than trained.

    Cho et al. 2014 apply it before, PyTorch and cuDNN after.

    Example:
        `linear_before_reset` was left out, and a GRU of PyTorch computes that of Cho et al.
    """

    name: ClassVar[str] = "other GRU form"
    remedy: ClassVar[str] = (
        "set linear_before_reset to 1 for a GRU of PyTorch, cuDNN or Keras's default, to 0 for that of Cho et al. "
        "2014; onnxscript before 0.7.1 leaves it out"
    )

    def variants(self) -> Iterator[Variant]:
        """The one form for the other."""
        other = change_node(_other_form)
        yield Variant("the GRU applies its reset gate on the other side of the product", other, undo=other)


def _other_form(op_type: str, _: NodeInputs, attributes: dict[str, Any]) -> None:
    if op_type == "GRU":
        attributes["linear_before_reset"] = 1 - attributes.get("linear_before_reset", 0)
