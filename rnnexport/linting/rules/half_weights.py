"""Weights that were rounded."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule


class HalfWeights(Rule):
    """float16 constants that are cast to float32.

    The file has half the size; the weights have lost 13 of their 24 bits.

    Example:
        W = Cast <to=FLOAT> (W_half: float16[1, 256, 40])
        Y = LSTM(x, W, R, B)
    """

    name = "half-weights"
    severity = "note"
    title = "weights are stored as float16 and computed in float32"
    consequences = {"every runtime": "errors near 1e-3 against the model they came from; no speed is gained"}

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look for casts of constants."""
        constants = [value for graph in checked.model.graphs() for value in graph.initializers.values()]
        constants += [node.outputs[0] for node in checked.model.graph.all_nodes() if node.op_type == "Constant"]
        for value in constants:
            tensor = ir.convenience.get_const_tensor(value)
            casts = [user for user, _ in value.uses() if user.op_type in ("Cast", "CastLike")]
            if tensor is not None and tensor.dtype == ir.DataType.FLOAT16 and casts:
                yield value.name or "", "float16, cast to float32 where it is used"
