"""Operators computed by onnx's own reference implementation, where the backend node cases show that it is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.parity.float64.node import GraphNode, Kernel
from rnnexport.parity.float64.widening import Rounding, wide, with_floats

_DOUBLE = 11


def _check_pad(node: GraphNode, x: NDArray[Any], pads: Any = None, *rest: Any) -> None:
    if node.get("mode", "constant") != "reflect" or pads is None:
        return
    axes = rest[1] if len(rest) > 1 and rest[1] is not None else range(x.ndim)
    for number, axis in enumerate(axes):
        most = max(int(pads[number]), int(pads[number + len(axes)]))
        if most >= max(x.shape[axis], 1):
            raise ValueError(f"it reflects {most} of {x.shape[axis]} elements along axis {axis}")


def _check_split(node: GraphNode, x: NDArray[Any], sizes: Any = None, *_: Any) -> None:
    sizes, axis = node.get("split") if sizes is None else sizes, node.get("axis", 0)
    if sizes is not None and int(np.sum(sizes)) != x.shape[axis]:
        raise ValueError(f"it splits {x.shape[axis]} elements into {[int(size) for size in sizes]}")


def _check_top_k(node: GraphNode, x: NDArray[Any], k: NDArray[Any], *_: Any) -> None:
    size = x.shape[node.get("axis", -1)]
    if int(k.ravel()[0]) > size:
        raise ValueError(f"it takes the first {int(k.ravel()[0])} of {size} elements")


_CHECKS: dict[str, Callable[..., None]] = {"Pad": _check_pad, "Split": _check_split, "TopK": _check_top_k}
"""Where onnx's implementation gives something for inputs that no runtime takes, nor the specification allows."""


def standard_kernel(node: GraphNode, opset: int, constant: Rounding = lambda x: x) -> Kernel:
    """Return onnx's implementation of a node; tensors among its attributes pass through `constant`."""
    from onnx.reference.ops._op_list import load_op

    parameters = {"log": _silent, "opsets": {"": opset}, "verbose": 0, "new_ops": None}
    proto = with_floats(node.proto, _DOUBLE, constant)
    implementation = load_op("", node.op_type, node.since_version)(proto, parameters)
    check = _CHECKS.get(node.op_type)

    def run(_: GraphNode, *inputs: Any) -> tuple[Any, ...]:
        if check is not None:
            check(node, *inputs)
        results: tuple[Any, ...] = implementation.run(*inputs)
        return tuple(wide(result) for result in results)  # some make float32 whatever they are given

    return run


def _silent(*_: Any) -> None:
    """Log nothing."""
