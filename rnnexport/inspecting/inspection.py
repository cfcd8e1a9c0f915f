"""What is in an ONNX file with recurrent layers, read off the graph; nothing is run."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from rnnexport.inspecting.decomposed_cells import DecomposedCell, cells_by_graph
from rnnexport.inspecting.layers import LayerSummary, data_inputs, layer_nodes, summarise
from rnnexport.inspecting.states import state_pairs
from rnnexport.onnx_files.nodes import bodies, constant_tensor, optional_input
from rnnexport.onnx_files.operators import STACK
from rnnexport.onnx_files.reading import free_dynamic_sizes


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `rnnexport show model.onnx` prints."""

    producer: str
    operator_sets: dict[str, int]
    inputs: dict[str, str]
    outputs: dict[str, str]
    layers: tuple[LayerSummary, ...]
    decomposed_cells: tuple[DecomposedCell, ...]
    state_pairs: tuple[tuple[str, str], ...]
    parameters: int
    operators: dict[str, int]
    multiply_adds_per_step: int
    """Of all recurrent layers and cells, for one row; of the branches of an `If` those of the largest."""


def inspect_model(model: ir.Model) -> Inspection:
    """Describe a model; it is not changed."""
    model = model.clone()
    with contextlib.suppress(Exception):  # a model that contradicts itself is described as far as it goes
        ShapeInferencePass()(model)
    free_dynamic_sizes(model.graph.outputs)  # those of bodies may have come through
    nodes = [*model.graph.all_nodes()]
    layers = {node: summarise(node) for node in layer_nodes(model)}
    cells = [*cells_by_graph(model)]
    return Inspection(
        producer=" ".join(filter(None, [model.producer_name, model.producer_version])) or "unknown",
        operator_sets={domain or "ai.onnx": version for domain, version in model.opset_imports.items()},
        inputs={value.name or "": _type(value) for value in data_inputs(model)},
        outputs={value.name or "": _type(value) for value in model.graph.outputs},
        layers=tuple(layers.values()),
        decomposed_cells=tuple(cell for _, cell in cells),
        state_pairs=tuple(state_pairs(model)),
        parameters=_parameters(model),
        operators=dict(Counter(node.op_type for node in nodes).most_common()),
        multiply_adds_per_step=_multiply_adds(model.graph, _costs(model, layers, cells)),
    )


def _costs(
    model: ir.Model, layers: Mapping[ir.Node, LayerSummary], cells: Sequence[tuple[int, DecomposedCell]]
) -> dict[ir.Graph, int]:
    """Multiply-adds of the layers and cells that stand in each graph itself."""
    graphs = list(model.graphs())
    costs = dict.fromkeys(graphs, 0)
    for node, layer in layers.items():
        assert node.graph is not None
        costs[node.graph] += layer.multiply_adds_per_step
    for number, cell in cells:
        costs[graphs[number]] += cell.multiply_adds_per_step
    return costs


def _multiply_adds(graph: ir.Graph, costs: Mapping[ir.Graph, int]) -> int:
    total = costs[graph]
    for node in graph:
        inner = [_multiply_adds(body, costs) for body in bodies(node)]
        total += max(inner, default=0) if node.op_type == "If" else sum(inner)
    return total


def _parameters(model: ir.Model) -> int:
    """Numbers in all constants of floating point or of 8 bits and fewer, scales among them."""
    constants = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    constants += [
        node.attributes["value"].as_tensor()
        for node in model.graph.all_nodes()
        if node.op_type == "Constant" and "value" in node.attributes
    ]
    counted = [tensor for tensor in constants if tensor is not None and _holds_parameters(tensor.dtype)]
    return sum(tensor.size for tensor in counted) + sum(map(_packed, model.graph.all_nodes()))


def _holds_parameters(dtype: ir.DataType) -> bool:
    """Shapes, axes and indices are of 32 and 64 bits."""
    return dtype.is_floating_point() or (dtype.is_integer() and dtype.itemsize <= 1)


def _packed(node: ir.Node) -> int:
    """How many more numbers a node's second input holds than it has bytes."""
    if node.op_type == "MatMulNBits":
        numbers = node.attributes.get_int("K", 0) * node.attributes.get_int("N", 0)
    elif node.op_type == STACK:
        numbers = summarise(node).multiply_adds_per_step
    else:
        return 0
    tensor = constant_tensor(optional_input(node, 1))
    return 0 if tensor is None else numbers - tensor.size


def _type(value: ir.Value) -> str:
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    if value.shape is None:
        return f"{dtype}, no shape"
    sizes = [str(size if isinstance(size, int) else size.value or "?") for size in value.shape]
    return f"{dtype} [{', '.join(sizes)}]"
