"""Recurrent nodes whose lengths were moved into their weights (`passes/lengths.py`), read back: X, W and the lengths.

Such a node reads Concat(Where(valid, X, 0), padding), and the last column of W shuts its gates where padding is 1. The
padding is recognised only as that pass writes it, Cast(Not(Less(steps, lengths))), since a mask of another origin may
have gaps in the middle, which lengths cannot say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import constant_tensor, optional_input, required_input
from rnnexport.onnx_files.operators import SEQUENCE_LENS, W, X
from rnnexport.passes.quantizing.outlier_columns import outlier_columns


@dataclass(frozen=True)
class UnmaskedInput:
    """What a recurrent node reads, without the column of its padding mask."""

    x: ir.Value
    """[T, B, I]"""
    w: np.ndarray
    """[D, G·H, I]"""
    lengths: ir.Value | None
    """In any shape of B elements; `None` where every row is as long as the batch."""


def unmasked_input(node: ir.Node) -> UnmaskedInput | None:
    """Return the node's X, W and lengths; `None` where W has large columns that are not a padding mask's."""
    x, tensor = required_input(node, X), constant_tensor(required_input(node, W))
    assert tensor is not None
    w = tensor.numpy()
    large = outlier_columns(w)
    if not len(large):
        return UnmaskedInput(x, w, optional_input(node, SEQUENCE_LENS))
    joined = x.producer()
    if joined is None or joined.op_type != "Concat" or len(joined.inputs) != 2 or list(large) != [w.shape[2] - 1]:
        return None
    values, padding = joined.inputs
    lengths = _lengths(padding)
    if values is None or lengths is None or optional_input(node, SEQUENCE_LENS) is not None:
        return None
    return UnmaskedInput(_without_where(values), w[:, :, :-1], lengths)


def _without_where(values: ir.Value) -> ir.Value:
    """X behind the Where that puts 0 on padding; the lengths say it again."""
    node = values.producer()
    if node is not None and node.op_type == "Where" and node.inputs[1] is not None:
        zero = constant_tensor(node.inputs[2])
        if _compared(node.inputs[0]) is not None and zero is not None and not np.any(zero.numpy()):
            return node.inputs[1]
    return values


def _lengths(padding: ir.Value | None) -> ir.Value | None:
    """The lengths that Cast(Not(Less(steps, lengths))) comes from."""
    return _compared(_operand(_operand(padding, "Cast"), "Not"))


def _compared(valid: ir.Value | None) -> ir.Value | None:
    """The lengths in Less(steps, lengths), where the steps are 0, 1, 2 and so on."""
    steps = _operand(_operand(valid, "Less"), "Reshape")
    counted = steps.producer() if steps is not None else None
    if valid is None or counted is None or counted.op_type != "Range":
        return None
    less = valid.producer()
    return less.inputs[1] if less is not None else None


def _operand(value: ir.Value | None, op_type: str) -> ir.Value | None:
    """The first input of the node of that operator which makes a value."""
    node = value.producer() if value is not None else None
    return node.inputs[0] if node is not None and node.op_type == op_type else None
