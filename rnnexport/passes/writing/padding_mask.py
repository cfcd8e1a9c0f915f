"""The weights that make an LSTM or GRU stand still on chosen steps.

One more input column is 1 on steps that must not count and 0 elsewhere. Its weight shuts the gates: a GRU keeps its
state when the update gate z is 1; an LSTM keeps c when i is 0 and f is 1, and shows h = 0 when o is 0. Rules:

1. The weight is ±1e4. ONNX Runtime and OpenVINO then give exactly 0 and 1 (already at 100), so nothing drifts however
   long the padding is. 1e4 is exact in float16, whose largest number is 65504, and is what converters cut weights to.
2. The rest of a gate's input must not reach that far. With the input masked to 0 it is R·h + b, and |h| ≤ 1 where the
   activation behind h is bounded by 1, so Σ|R| + |b| of every gate's row is checked. What is left is |h_0|: a given
   state may be as large as (1e4 - 128 - |b|) / Σ|R|, which is above 100 for any ordinary layer.
3. On steps that count the column is 0, and 0 · 1e4 changes nothing.
4. A quantized product must not contain the column: ±1e4 would take the whole scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.nodes import constant_input

_WEIGHT = 1e4
_SIGMOID_SATURATES = 128.0
"""Where a sigmoid in float32 is 0 or 1 beyond doubt: e^-104 is below the least number."""
# In ONNX's order of gates: i, o, f, c and z, r, h.
_SIGNS = {"LSTM": (-1, -1, 1, 0), "GRU": (1, 0, 0)}
_DEFAULT_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh")}
_BOUNDED_BY_ONE = {"tanh", "sigmoid", "hardsigmoid", "softsign"}
_W, _R, _B, _P = 1, 2, 3, 7


def why_not_maskable(node: ir.Node) -> str | None:
    """Return why the column would not hold this node's state exactly, or `None` if it does."""
    if node.op_type not in _SIGNS:
        return "it has no gate that could hold its state"
    if any(node.inputs[_P:]):
        return "its peepholes add an unbounded cell state to the gates"
    saturates, reason = _saturation(node)
    if reason:
        return reason
    if (clip := node.attributes.get_float("clip", math.inf)) < saturates:
        return f"clip={clip:g} keeps its gates from closing"
    weights = node.inputs[_W : _B + 1]
    if any(value is not None and ir.convenience.get_const_tensor(value) is None for value in weights):
        return "its weights are computed; fold constants first"
    if (reach := _reach(node)) > _WEIGHT - saturates:
        return f"its weights add up to {reach:.3g}, which could open the gates again"
    return None


def mask_weights(node: ir.Node) -> NDArray[np.generic]:
    """Return W [D, G·H, I + 1], whose last column shuts the gates."""
    w = constant_input(node, _W)
    hidden_size = w.shape[1] // len(_SIGNS[node.op_type])
    column = np.repeat(np.array(_SIGNS[node.op_type]) * _WEIGHT, hidden_size)
    columns = np.broadcast_to(column[None, :, None], (*w.shape[:2], 1))
    return np.concatenate([w, columns.astype(w.dtype)], axis=2)


def _saturation(node: ir.Node) -> tuple[float, str | None]:
    """How large a gate's input must be to close it, and why that cannot be said."""
    default = _DEFAULT_ACTIVATIONS[node.op_type]
    names = [name.lower() for name in node.attributes.get_strings("activations") or default]
    gates, states = set(names[:: len(default)]), set(names[len(default) - 1 :: len(default)])
    if not gates <= {"sigmoid", "hardsigmoid"}:
        return 0.0, f"the activation {min(gates - {'sigmoid', 'hardsigmoid'})!r} does not close its gates"
    if not states <= _BOUNDED_BY_ONE:
        return 0.0, f"the activation {min(states - _BOUNDED_BY_ONE)!r} does not bound its state"
    if "hardsigmoid" not in gates:
        return _SIGMOID_SATURATES, None
    alpha = min([0.2, *_floats(node, "activation_alpha")])
    beta = max([0.5, *map(abs, _floats(node, "activation_beta"))])
    return (
        (max(_SIGMOID_SATURATES, (1 + beta) / alpha), None) if alpha > 0 else (0.0, f"alpha={alpha:g} inverts a gate")
    )


def _floats(node: ir.Node, name: str) -> Sequence[float]:
    return node.attributes.get_floats(name) or ()


def _reach(node: ir.Node) -> float:
    """The largest Σ|R| + |Wb + Rb| of any row of a gate."""
    reach = np.abs(constant_input(node, _R).astype(np.float64)).sum(axis=2)
    if len(node.inputs) > _B and node.inputs[_B] is not None:
        bias = constant_input(node, _B).astype(np.float64)
        reach += np.abs(bias.reshape(len(bias), 2, -1)).sum(axis=1)
    return float(reach.max())
