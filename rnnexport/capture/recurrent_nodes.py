"""Turns the opaque recurrent operators of a captured graph into ONNX LSTM, GRU and RNN nodes.

1. One node per layer, named after the module: `encoder.rnn.layer0`; a second call: `encoder.rnn.call2.layer0`.
2. An initial state that is all zeros is left out, as ONNX defines.
3. Weights may be computed, as a weight norm does, but not from the inputs.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.convenience import replace_nodes_and_values
from onnx_ir.tape import Tape
from onnxscript.optimizer import fold_constants
from torch import Tensor

from rnnexport.capture.interception import DOMAIN
from rnnexport.capture.recurrent import DirectionWeights, RecurrentLayer, RecurrentValues, add_layer
from rnnexport.errors import ExportError
from rnnexport.onnx_files.nodes import constant_tensor
from rnnexport.onnx_files.operators import Recurrent
from rnnexport.onnx_files.zeros import is_zero

_ANY_SIZE = 2**40
_CELLS: dict[str, Recurrent] = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "RNN"}
_NUM_OPERANDS = 4
"""x, h_0, c_0 and lengths come before the weights."""


def lower_recurrent_layers(model: ir.Model) -> None:
    """Replace every opaque recurrent operator of `model`, in place.

    Raises:
        ExportError: A layer's weights are computed from the inputs.
    """
    calls: Counter[str] = Counter()
    nodes = [node for node in model.graph if node.domain == DOMAIN]
    if any(constant_tensor(value) is None for node in nodes for value in node.inputs[_NUM_OPERANDS:]):
        fold_constants(model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)  # a weight norm, for example
    for node in nodes:
        path = node.attributes["path"].as_string() or node.op_type.lower()
        calls[path] += 1
        _lower(model.graph, node, path if calls[path] == 1 else f"{path}.call{calls[path]}")
    model.graph.opset_imports.pop(DOMAIN, None)


def _lower(graph: ir.Graph, node: ir.Node, name: str) -> None:
    tape = Tape()
    layers = _layers(node, name)
    x, h_0, c_0, lengths = node.inputs[:_NUM_OPERANDS]
    assert x is not None
    if lengths is not None:
        lengths = _op(tape, "Cast", [lengths], f"{name}.lengths", to=ir.DataType.INT32)
    initial_h = _split(tape, h_0, layers, f"{name}.h_0")
    initial_c = _split(tape, c_0, layers, f"{name}.c_0")
    results: list[RecurrentValues] = []
    for layer, h, c in zip(layers, initial_h, initial_c, strict=True):
        results.append(add_layer(tape, layer, x, sequence_lens=lengths, initial_h=h, initial_c=c))
        x = results[-1].output
    new = [x, _stacked(tape, [result.h_n for result in results], f"{name}.h_n")]
    if results[0].c_n is not None:
        new.append(_stacked(tape, [result.c_n for result in results if result.c_n is not None], f"{name}.c_n"))
    for initializer in tape.initializers:
        graph.register_initializer(initializer)
    names = [value.name for value in new]
    replace_nodes_and_values(graph, node, [node], tape.nodes, node.outputs, new)
    for value, own_name in zip(new, names, strict=True):
        value.name = own_name


def _layers(node: ir.Node, name: str) -> list[RecurrentLayer]:
    """Sort the node's flat weights into layers and directions, as PyTorch orders them."""
    sizes = {key: attribute.as_int() for key, attribute in node.attributes.items() if key != "path"}
    weights = [_constant(value, name) for value in node.inputs[_NUM_OPERANDS:]]
    kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if sizes["bias"] else [])]
    if sizes.get("proj_size"):
        kinds.append("weight_hr")
    groups = [weights[start : start + len(kinds)] for start in range(0, len(weights), len(kinds))]
    directions = [DirectionWeights(**dict(zip(kinds, group, strict=True))) for group in groups]
    num_directions = sizes["num_directions"]
    return [
        RecurrentLayer(
            f"{name}.layer{index}",
            _CELLS[node.op_type],
            tuple(directions[index * num_directions : (index + 1) * num_directions]),
            linear_before_reset=bool(sizes.get("linear_before_reset", 1)),
            activation="Relu" if sizes.get("relu") else "Tanh",
        )
        for index in range(sizes["num_layers"])
    ]


def _constant(value: ir.Value | None, name: str) -> Tensor:
    tensor = constant_tensor(value)
    if tensor is None:
        raise ExportError(f"the weights of layer {name!r} are computed from the inputs; ONNX needs constant weights")
    raw = getattr(tensor, "raw", None)
    return raw if isinstance(raw, Tensor) else torch.from_numpy(tensor.numpy().copy())


def _split(tape: Tape, state: ir.Value | None, layers: list[RecurrentLayer], name: str) -> list[ir.Value | None]:
    """Part a stacked state [L·D, B, H] by layers; all zeros is no state at all."""
    if state is None or is_zero(state):
        return [None] * len(layers)
    if len(layers) == 1:
        return [state]
    sizes = np.array([len(layer.directions) for layer in layers])
    parts = [ir.Value(name=f"{name}.layer{index}") for index in range(len(layers))]
    split = tape.initializer(ir.tensor(sizes, name=f"{name}.sizes"))
    tape.op_multi_out("Split", [state, split], {"axis": 0}, outputs=parts, name=name)
    return list(parts)


def _stacked(tape: Tape, states: list[ir.Value], name: str) -> ir.Value:
    return states[0] if len(states) == 1 else _op(tape, "Concat", states, name, axis=0)


def _op(tape: Tape, op_type: str, inputs: list[ir.Value], name: str, **attributes: int) -> ir.Value:
    return tape.op(op_type, inputs, attributes, name=name, output=ir.Value(name=name))
