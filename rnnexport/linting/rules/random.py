"""Operators that draw."""

from __future__ import annotations

from collections.abc import Iterator

from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import node_name

_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)


class RandomValues(Rule):
    """Values that are drawn anew in each call.

    Noise for training that was exported with the model, or an initial state by `torch.randn`.

    Example:
        noise = RandomNormalLike(x)
        Y = LSTM(Add(x, noise), W, R, B)
    """

    name = "random"
    severity = "error"
    title = "a value is drawn at random"
    consequences = {
        "every runtime": "another answer at every call, so that nothing can be proved; export without the noise"
    }

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look for the operators whose output is drawn; a Dropout in training mode is `training-mode`."""
        for node in checked.model.graph.all_nodes():
            if node.op_type in _RANDOM and not node.domain:
                yield node_name(node), f"{node.op_type} draws its output"
