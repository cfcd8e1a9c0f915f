"""A whole model as one graph."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass, ShapeInferencePass

from rnnexport.capture.opsets import DEFAULT_OPSET, IR_VERSION, check_opset
from rnnexport.keras_files.layers.recurrent import Bidirectional, Recurrent
from rnnexport.keras_files.model import LayerCall, Model, Tensor
from rnnexport.keras_files.writing.layers import Given, write
from rnnexport.keras_files.writing.nodes import Nodes
from rnnexport.keras_files.writing.recurrent import write_bidirectional, write_recurrent
from rnnexport.keras_files.writing.step_masks import StepMask
from rnnexport.onnx_files.writer import GraphWriter

_TYPES = {
    "float": ir.DataType.FLOAT,
    "int32": ir.DataType.INT32,
    "int64": ir.DataType.INT64,
    "bool": ir.DataType.BOOL,
}


def write_model(model: Model, opset_version: int = DEFAULT_OPSET) -> ir.Model:
    """Write a model; recurrent nodes have their masks as `sequence_lens`.

    Args:
        model: The model.
        opset_version: ONNX operator set.

    Raises:
        InputError: The operator set is out of range.
    """
    check_opset(opset_version)
    inputs = [_value(tensor) for tensor in model.inputs]
    graph = ir.Graph(inputs, [], nodes=[], opset_imports={"": opset_version}, name="main_graph")
    written = ir.Model(graph, ir_version=IR_VERSION, producer_name="rnnexport")
    writer = GraphWriter(written, graph)
    calls = _Calls(writer, {tensor.name: value for tensor, value in zip(model.inputs, inputs, strict=True)})
    for call in model.calls:
        calls.write(call)
    for tensor in model.outputs:
        graph.outputs.append(calls.output(tensor))
    RemoveUnusedNodesPass()(written)
    # OpenVINO does so itself, and `Transpositions` keeps it from mixing up the readers of a value only if it is one.
    CommonSubexpressionEliminationPass()(written)
    ShapeInferencePass()(written)
    return written


def _value(tensor: Tensor) -> ir.Value:
    return ir.Value(name=tensor.name, shape=ir.Shape(tensor.shape), type=ir.TensorType(_TYPES[tensor.kind]))


class _Calls:
    """Writes calls, one after another."""

    def __init__(self, writer: GraphWriter, values: dict[str, ir.Value]) -> None:
        self._writer, self._values = writer, values
        self._masks: dict[str, StepMask] = {}

    def write(self, call: LayerCall) -> None:
        """Write one call."""
        nodes = Nodes(self._writer, call.name)
        inputs = [self._values[tensor.name] for tensor in call.inputs]
        match call.layer:
            case Recurrent():
                results = write_recurrent(nodes, call.layer, inputs[0], inputs[1:], self._step_mask(call, call.layer))
            case Bidirectional():
                mask = self._step_mask(call, call.layer.forward)
                results = write_bidirectional(nodes, call.layer, inputs[0], inputs[1:], mask)
            case _:
                masks = [None if mask is None else self._values[mask.name] for mask in call.masks]
                given = Given(inputs, masks, [tensor.shape for tensor in call.inputs])
                written = write(call.layer, nodes, given)
                results = written if isinstance(written, list) else [written]
        for tensor, value in zip(call.outputs, results, strict=True):
            value.type = value.type or ir.TensorType(_TYPES[tensor.kind])
            self._values[tensor.name] = value

    def _step_mask(self, call: LayerCall, layer: Recurrent) -> StepMask | None:
        mask = call.masks[0]
        if mask is None:
            return None
        if mask.name not in self._masks:
            nodes = Nodes(self._writer, mask.name)
            self._masks[mask.name] = StepMask(nodes, self._values[mask.name], time_major=layer.time_major)
        return self._masks[mask.name]

    def output(self, tensor: Tensor) -> ir.Value:
        """A value under the tensor's name, as an output of the graph."""
        value = self._writer.op("Identity", [self._values[tensor.name]], tensor.name)
        value.name = tensor.name
        value.type = ir.TensorType(_TYPES[tensor.kind])
        plain = [size if isinstance(size, int) or size.isidentifier() else None for size in tensor.shape]
        value.shape = ir.Shape(plain)
        return value
