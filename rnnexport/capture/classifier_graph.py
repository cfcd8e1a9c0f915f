"""The graph of a `SequenceClassifier`, built from its weights without tracing, in a fraction of the time.

x [B, T, I] → (x - mean) / std → LSTM or GRU layers over each series' length → last state(s) → Linear → logits

Tokens x [B, T] go through an embedding instead of the scaling; with `per_step`, all outputs go to the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnx_ir.tape import Tape
from torch import Tensor, nn

from rnnexport.capture.captured import Captured
from rnnexport.capture.opsets import DEFAULT_OPSET, IR_VERSION, check_opset
from rnnexport.capture.recurrent import add_layer, layers_from_module

if TYPE_CHECKING:
    from rnnexport.models.classifier import SequenceClassifier


def capture_plain(model: SequenceClassifier, *, opset_version: int = DEFAULT_OPSET) -> Captured:
    """Write `model` as an ONNX graph: inputs `x` and `lengths`, output `logits`.

    Args:
        model: The classifier; dropout is left out, as in evaluation mode.
        opset_version: ONNX operator set, one of `OPSETS`.

    Raises:
        InputError: The operator set is out of range.
    """
    check_opset(opset_version)
    tape = Tape()
    dtype = ir.tensor(model.head.weight.detach()).dtype
    config = model.config
    features = [] if config.takes_tokens else [config.input_size]
    x_type = ir.DataType.INT64 if config.takes_tokens else dtype
    x = ir.Value(name="x", type=ir.TensorType(x_type), shape=ir.Shape(["batch", "time", *features]))
    lengths = ir.Value(name="lengths", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["batch"]))
    numbers = _embedded(tape, model, x) if config.takes_tokens else _scaled(tape, model, x)
    last, outputs = _run_layers(tape, model.rnn, numbers, lengths)
    logits = _logits_per_step(tape, model, outputs) if config.per_step else _logits(tape, model, _joined(tape, last))
    steps = ["time"] if config.per_step else []
    logits.type, logits.shape = ir.TensorType(dtype), ir.Shape(["batch", *steps, config.num_outputs])
    graph = ir.Graph(
        [x, lengths],
        [logits],
        nodes=tape.nodes,
        initializers=tape.initializers,
        opset_imports={"": opset_version},
        name="main_graph",
    )
    captured = ir.Model(graph, ir_version=IR_VERSION, producer_name="rnnexport")
    RemoveUnusedNodesPass()(captured)
    return Captured(captured)


def _scaled(tape: Tape, model: SequenceClassifier, x: ir.Value) -> ir.Value:
    centred = _op(tape, "Sub", [x, _initializer(tape, "mean", model.mean)], "centred")
    return _op(tape, "Div", [centred, _initializer(tape, "std", model.std)], "scaled")


def _embedded(tape: Tape, model: SequenceClassifier, x: ir.Value) -> ir.Value:
    return _op(tape, "Gather", [_initializer(tape, "embedding.weight", model.embedding.weight), x], "embedded")


def _run_layers(tape: Tape, rnn: nn.RNNBase, x: ir.Value, lengths: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The last layer's h_n [D, B, H] and its outputs [T, B, D·H]."""
    x = _op(tape, "Transpose", [x], "time_major", perm=[1, 0, 2])
    steps = _op(tape, "Cast", [lengths], "sequence_lens", to=ir.DataType.INT32)
    for layer in layers_from_module(rnn, "rnn"):
        values = add_layer(tape, layer, x, sequence_lens=steps)
        x = values.output
    return values.h_n, x


def _joined(tape: Tape, h_n: ir.Value) -> ir.Value:
    """h_n with the directions side by side: [B, D·H]."""
    by_batch = _op(tape, "Transpose", [h_n], "last_state_by_batch", perm=[1, 0, 2])
    return _op(tape, "Reshape", [by_batch, _initializer(tape, "joined_shape", np.array([0, -1]))], "last_state")


def _logits_per_step(tape: Tape, model: SequenceClassifier, outputs: ir.Value) -> ir.Value:
    by_batch = _op(tape, "Transpose", [outputs], "outputs_by_batch", perm=[1, 0, 2])
    product = _op(tape, "MatMul", [by_batch, _initializer(tape, "head.weight.T", model.head.weight.T)], "product")
    return _op(tape, "Add", [product, _initializer(tape, "head.bias", model.head.bias)], "logits")


def _logits(tape: Tape, model: SequenceClassifier, state: ir.Value) -> ir.Value:
    weight = _initializer(tape, "head.weight", model.head.weight)
    return _op(tape, "Gemm", [state, weight, _initializer(tape, "head.bias", model.head.bias)], "logits", transB=1)


def _initializer(tape: Tape, name: str, tensor: Tensor | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> ir.Value:
    return tape.initializer(
        ir.tensor(tensor.detach().contiguous() if isinstance(tensor, Tensor) else tensor, name=name)
    )


def _op(tape: Tape, op_type: str, inputs: list[ir.Value], name: str, **attributes: int | list[int]) -> ir.Value:
    return tape.op(op_type, inputs, attributes, name=name, output=ir.Value(name=name))
