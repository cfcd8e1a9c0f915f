"""The work of a graph's recurrent layers, counted off the graph for one size of call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from rnnexport.benchmark.weight_formats import WeightFormat, mixed_format
from rnnexport.inspecting.layers import call_dimensions, layer_nodes, summarise
from rnnexport.onnx_files.operators import GATES, QUANTIZED_LSTM


@dataclass(frozen=True, slots=True)
class LayerWork:
    """One direction of one recurrent layer in one call."""

    name: str
    gates: int
    """G: 4 for an LSTM, 3 for a GRU, 1 for a plain RNN."""
    input_size: int
    hidden_size: int
    batch_size: int
    time_steps: int
    weights: WeightFormat | None = None
    """As the file says; `None` where the runtime decides."""

    @property
    def projection_weights(self) -> int:
        """G·H·I, the numbers in W, which a call need read once only."""
        return self.gates * self.hidden_size * self.input_size

    @property
    def recurrent_weights(self) -> int:
        """G·H², the numbers in R, which every step reads."""
        return self.gates * self.hidden_size**2

    @property
    def projection_flop(self) -> int:
        """2·B·T·G·H·I of a call: X·W over all steps at once."""
        return 2 * self.batch_size * self.time_steps * self.projection_weights

    @property
    def step_flop(self) -> int:
        """2·B·G·H² of a step; activations are left out."""
        return 2 * self.batch_size * self.recurrent_weights


def recurrent_work(model: ir.Model, sizes: Mapping[str, int]) -> tuple[tuple[LayerWork, ...], tuple[str, ...]]:
    """Count the work of every recurrent layer, each direction for itself, and name the nodes left out.

    `sizes` gives each symbolic dimension of the graph's inputs its size. Left out are nodes whose batch or time cannot
    be read off the graph, and those in the branches of `If`, `Loop` and `Scan`, which may run any number of times.
    """
    from onnx_ir.passes.common import ShapeInferencePass

    model = model.clone()
    ShapeInferencePass()(model)
    counted: list[LayerWork] = []
    left_out: list[str] = []
    for node in (node for node in layer_nodes(model) if node.op_type != QUANTIZED_LSTM):
        layer = summarise(node)
        shape = _call_shape(node, sizes) if node.graph is model.graph else None
        if shape is None or layer.input_size is None or layer.hidden_size is None:
            left_out.append(layer.name)
            continue
        directions = 2 if layer.direction == "bidirectional" else 1
        inputs = [layer.input_size, *[directions * layer.hidden_size] * (layer.layers - 1)]
        gates = len(GATES[layer.operator])
        for input_size, bits in zip(inputs, _bits(node, layer.layers), strict=True):
            format = mixed_format(bits) if bits else None
            counted += [LayerWork(layer.name, gates, input_size, layer.hidden_size, *shape, format)] * directions
    return tuple(counted), tuple(left_out)


def _bits(node: ir.Node, layers: int) -> list[list[int]]:
    """Of the weights of each layer's gates; nothing where the node does not say."""
    stored = list(node.attributes.get_ints("weight_bits", ()))
    gates = len(stored) // layers
    return [stored[gates * layer : gates * (layer + 1)] for layer in range(layers)]


def _call_shape(node: ir.Node, sizes: Mapping[str, int]) -> tuple[int, int] | None:
    """Batch and time steps of a node's X, or `None` where the graph does not say."""
    dimensions = call_dimensions(node) or ()
    known = [size if isinstance(size, int) else sizes.get(str(size.value)) for size in dimensions]
    batch, steps = known or (None, None)
    return None if batch is None or steps is None else (batch, steps)
