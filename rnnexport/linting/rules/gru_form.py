"""Which of the two GRUs."""

from __future__ import annotations

from collections.abc import Iterator

from rnnexport.inspecting.layers import recurrent_nodes
from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import node_name


class ResetBeforeFromPyTorch(Rule):
    """The reset gate before the product, in a file that PyTorch wrote.

    `nn.GRU` computes n = tanh(W x + r * (R h + b)), which is `linear_before_reset=1`. Cho et al. (2014) have
    n = tanh(W x + R (r * h) + b), which is `linear_before_reset=0`, the operator's default.

    Example:
        Y = GRU <hidden_size=64> (x, W, R, B)    # the producer is pytorch, linear_before_reset is not set
    """

    name = "gru-form"
    severity = "error"
    title = "the reset gate is applied before the product, which PyTorch's nn.GRU does not do"
    consequences = {
        "every runtime": "another function than the PyTorch model's; onnxscript up to 0.7.0 writes every nn.GRU so"
    }

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look at `linear_before_reset`; from Keras (reset_after=False) and others it is what was meant."""
        if (checked.model.producer_name or "").lower() not in ("pytorch", "onnxscript"):
            return
        for node in recurrent_nodes(checked.model):
            if node.op_type == "GRU" and not node.attributes.get_int("linear_before_reset", 0):
                yield node_name(node), "linear_before_reset is 0; export again with onnxscript 0.7.1 or later"
