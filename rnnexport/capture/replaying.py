"""Runs a trace on numbers, to hold it against its module at sizes that it was not made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from rnnexport.capture.inputs import InputSpec
from rnnexport.capture.interception import OPAQUE, computed
from rnnexport.capture.ranges import made_up
from rnnexport.capture.tracing import call_module

_UNCHECKED = {torch.ops.aten._assert_scalar.default, torch.ops.aten._assert_tensor_metadata.default, torch._check}


def computes_like(
    program: torch.export.ExportedProgram, module: nn.Module, inputs: Sequence[InputSpec], sizes: Mapping[str, int]
) -> bool:
    """Whether a trace gives what its module gives, at these sizes; nothing is known where one of them fails."""
    for length in dict.fromkeys((None, *sizes.values())):
        tensors = [made_up(spec, dict(sizes), length) for spec in inputs]
        try:
            expected = call_module(module, inputs, tensors)
        except Exception:  # the user's code can raise anything
            continue
        try:
            actual = _replayed(program, module, tensors)
        except Exception:  # operators refuse what does not fit them
            return False
        return all(
            a.shape == e.shape and torch.allclose(a.double(), e.double(), 1e-3, 1e-4, equal_nan=True)
            for a, e in zip(actual, expected, strict=True)
        )
    return False


class _OnNumbers(fx.Interpreter):
    """Computes recurrent layers with PyTorch, and checks nothing."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target in _UNCHECKED:
            return None
        if target is OPAQUE:
            return computed(args[0], args[1], kwargs)
        return super().call_function(target, args, kwargs)


def _replayed(program: torch.export.ExportedProgram, module: nn.Module, tensors: Sequence[Tensor]) -> list[Tensor]:
    signature = program.graph_signature
    given = dict(zip(signature.user_inputs, tensors, strict=True))
    states = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    values: list[Any] = []
    for node in (node for node in program.graph.nodes if node.op == "placeholder"):
        if node.name in given:
            values.append(given[node.name])
        elif node.name in states:
            values.append(program.state_dict[states[node.name]])
        else:
            values.append(program.constants[signature.inputs_to_lifted_tensor_constants[node.name]])
    with torch.no_grad():
        outputs = _OnNumbers(program.graph_module).run(*values)
    return [*outputs][-len(signature.user_outputs) :]
