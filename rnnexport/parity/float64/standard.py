"""Operators computed by onnx's own reference implementation, where the backend node cases show that it is right."""

from __future__ import annotations

from typing import Any

from rnnexport.parity.float64.node import GraphNode, Kernel
from rnnexport.parity.float64.widening import Rounding, wide, with_floats

_DOUBLE = 11


def standard_kernel(node: GraphNode, opset: int, constant: Rounding = lambda x: x) -> Kernel:
    """Return onnx's implementation of a node; tensors among its attributes pass through `constant`."""
    from onnx.reference.ops._op_list import load_op

    parameters = {"log": _silent, "opsets": {"": opset}, "verbose": 0, "new_ops": None}
    proto = with_floats(node.proto, _DOUBLE, constant)
    implementation = load_op("", node.op_type, node.since_version)(proto, parameters)

    def run(_: GraphNode, *inputs: Any) -> tuple[Any, ...]:
        results: tuple[Any, ...] = implementation.run(*inputs)
        return tuple(wide(result) for result in results)  # some make float32 whatever they are given

    return run


def _silent(*_: Any) -> None:
    """Log nothing."""
