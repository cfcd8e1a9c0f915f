"""Makes a captured graph small, and the same whenever and wherever it is captured.

1. Constants are folded, unused nodes dropped.
2. Inputs and outputs bear the names that the caller knows; dynamic dimensions too.
3. Nodes and values are named after the module that they come from: `encoder.proj.MatMul`.
4. No stack traces, paths or memory of the exporter remain.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx_ir as ir
from onnx_ir.passes import PassError
from onnxscript import rewriter
from onnxscript.optimizer import optimize_ir
from onnxscript.rewriter.rules.common import _no_op

from rnnexport.capture.tracing import Entry
from rnnexport.errors import ExportError

_SCOPES = "pkg.torch.onnx.name_scopes"


def tidy(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str], dimensions: Mapping[str, str]) -> None:
    """Optimize, name and clean `model`, in place.

    Args:
        model: A graph as the exporter made it, recurrent layers lowered.
        inputs: Names for the graph's inputs.
        outputs: Names for the graph's outputs.
        dimensions: The names of the size variables: `{"s77": "batch"}`.

    Raises:
        ExportError: onnxscript fails on an operator of the graph.
    """
    try:
        with _small_constants_kept():
            optimize_ir(model, inline=False)
    except PassError as exc:
        told: BaseException = exc
        while told.__cause__ is not None and not str(told).startswith("Error during"):
            told = told.__cause__
        raise ExportError(f"the module has no ONNX form: onnxscript fails on its graph: {told}") from exc
    graph = model.graph
    nodes, values = _Names(set()), _Names({*inputs, *outputs})
    for value, name in zip([*graph.inputs, *graph.outputs], [*inputs, *outputs], strict=True):
        value.name = name
    for node in graph:
        _name_node(node, nodes, values, keep={*graph.outputs})
    _name_initializers(graph, values)
    for value in _values(graph):
        value.shape = _with_names(value.shape, dimensions)
        value.metadata_props.clear()
        value.doc_string = None
    _forget_origin(model)


@contextmanager
def _small_constants_kept() -> Iterator[None]:
    """Keep onnxscript from dropping `x + 1e-8` and `x * 1.000001`: it takes what is nearly 0 or 1 for that.

    Such a constant keeps a division from zero. Where onnxscript looks different, nothing is replaced.
    """
    found = getattr(rewriter, "_DEFAULT_REWRITE_RULES", None)
    if found is None:
        yield
        return
    dropping = {id(rule) for rule in _no_op.rules}
    rewriter._DEFAULT_REWRITE_RULES = tuple(rule for rule in found if id(rule) not in dropping)
    try:
        yield
    finally:
        rewriter._DEFAULT_REWRITE_RULES = found


class _Names:
    """Hands out each name once; the second asker gets `name_2`."""

    def __init__(self, taken: set[str]) -> None:
        self.counts = Counter(taken)

    def take(self, name: str) -> str:
        self.counts[name] += 1
        return name if self.counts[name] == 1 else self.take(f"{name}_{self.counts[name]}")


def _name_node(node: ir.Node, nodes: _Names, values: _Names, keep: set[ir.Value]) -> None:
    """Name a node and its outputs after its module. What recurrent layers wrote has its name already."""
    scopes = node.metadata_props.get(_SCOPES)
    if scopes is not None:
        path = ast.literal_eval(scopes)[-2:-1] or [""]
        inside = path[0].removeprefix(Entry.PREFIX).removeprefix(".") if path[0].startswith(Entry.PREFIX) else ""
        node.name = nodes.take(f"{inside}.{node.op_type}".removeprefix("."))
    for index, value in enumerate(node.outputs):
        if value in keep:
            continue
        if scopes is not None:
            value.name = node.name if len(node.outputs) == 1 else f"{node.name}.{index}"
        value.name = values.take(value.name or f"{node.name}.{index}")


def _name_initializers(graph: ir.Graph, names: _Names) -> None:
    """Parameters keep their path; a constant is named after the node that reads it first."""
    for value in list(graph.initializers.values()):
        name = str(value.name)
        if name.startswith(f"{Entry.PREFIX}."):
            name = name.removeprefix(f"{Entry.PREFIX}.")
        elif value.uses() and "." not in name:
            node, index = next(iter(value.uses()))
            name = f"{node.name}.constant_{index}"
        value.name = names.take(name)


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]


def _with_names(shape: ir.Shape | None, dimensions: Mapping[str, str]) -> ir.Shape | None:
    """`[s77, s27 - 4, 12]` → `[batch, time - 4, 12]`. A runtime takes one name for one size: the unknown have none."""
    if shape is None or not shape.is_dynamic():
        return shape
    sizes = [d if isinstance(d, int) else d.value for d in shape]
    return ir.Shape(
        [re.sub(r"\w+", lambda m: dimensions.get(m[0], m[0]), d) if isinstance(d, str) else d for d in sizes]
    )


def _forget_origin(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for owner in (model, model.graph):
        owner.metadata_props.clear()
        owner.doc_string = None
    model.graph.name, model.producer_name, model.producer_version = "main_graph", "rnnexport", None
