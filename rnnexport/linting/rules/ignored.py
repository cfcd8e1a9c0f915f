"""What OpenVINO reads past."""

from __future__ import annotations

from collections.abc import Iterator

from rnnexport.inspecting.layers import recurrent_nodes
from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import node_name, optional_input
from rnnexport.onnx_files.operators import P


class Ignored(Rule):
    """Peepholes, coupled gates, and activations of the reverse half.

    The operator specification has them (input P, `input_forget`, a second half of `activations`); one runtime reads
    past them.

    Example:
        Y = LSTM <direction="bidirectional", input_forget=1> (x, W, R, B, , , , P)
    """

    name = "ignored-by-openvino"
    severity = "error"
    title = "the layer has peepholes, coupled gates, or other activations in its reverse half"
    consequences = {"OpenVINO": "ignores them without a word: the layer is computed as if it had none"}

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look at P, `input_forget` and `activations`."""
        for node in recurrent_nodes(checked.model):
            if node.op_type == "LSTM" and optional_input(node, P) is not None:
                yield node_name(node), "it has peepholes (P)"
            if node.op_type == "LSTM" and node.attributes.get_int("input_forget", 0) == 1:
                yield node_name(node), "its input and forget gates are coupled (input_forget)"
            activations = list(node.attributes.get_strings("activations", ()))
            half = len(activations) // 2
            both = node.attributes.get_string("direction", "forward") == "bidirectional"
            if both and activations[:half] != activations[half:]:
                yield node_name(node), f"activations {activations[:half]} forward and {activations[half:]} in reverse"
