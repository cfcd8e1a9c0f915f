"""Attention, as onnx has it, but for what its versions are told apart by and the cases do not settle."""

from __future__ import annotations

from typing import Any

from rnnexport.errors import NoReferenceError
from rnnexport.parity.float64.node import GraphNode, Kernel
from rnnexport.parity.float64.standard import standard_kernel

_PAST_KEY = 4


def _attention(node: GraphNode, *inputs: Any) -> tuple[Any, ...]:
    has_past = len(inputs) > _PAST_KEY and inputs[_PAST_KEY] is not None
    if node.since_version == 24 and node.get("is_causal", 0) and has_past:
        raise NoReferenceError("causal Attention of operator set 24 with a past")  # onnx and ONNX Runtime disagree
    return standard_kernel(node, node.since_version)(node, *inputs)


KERNELS: dict[str, Kernel] = {"Attention": _attention}
