"""Writes new nodes and constants into a graph that has names of its own already."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import chain, count

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_SPLIT_TAKES_SIZES = 13
"""The operator set from which on a Split's sizes are an input."""
_REDUCE_TAKES_AXES = 18
"""Likewise, a ReduceMax's axes."""
Attributes = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]


class GraphWriter:
    """Puts nodes before the node `before`, under names that no value of the model has yet.

    Names depend on the model alone, so the same rewrite of the same model writes the same names.
    """

    def __init__(self, model: ir.Model, graph: ir.Graph) -> None:
        self._graph = graph
        self._names = {value.name for each in model.graphs() for value in _values(each)}
        self.opset_version = model.opset_imports.get("", 1)
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self.before: ir.Node | None = None
        """Where nodes are put; `None` puts them at the end."""

    def inside(self, graph: ir.Graph) -> GraphWriter:
        """Return a writer for a body: its constants stand in there, its names are free everywhere."""
        writer = copy(self)
        writer._graph, writer._constants, writer.before = graph, {}, None
        return writer

    def fresh_name(self, name: str) -> str:
        """`name`, or `name_1`, `name_2` … where it is taken."""
        candidates = chain([name], (f"{name}_{number}" for number in count(1)))
        free = next(candidate for candidate in candidates if candidate not in self._names)
        self._names.add(free)
        return free

    def op(self, op_type: str, inputs: Sequence[ir.Value | None], name: str, **attributes: Attributes) -> ir.Value:
        """Write a node of one output, both called `name`; `op_type` is one of ONNX, or `DOMAIN::NAME`."""
        return self.node(op_type, inputs, [name], ir.convenience.convert_attributes(attributes))[0]

    def split(self, value: ir.Value, sizes: Sequence[int], axis: int, names: Sequence[str]) -> Sequence[ir.Value]:
        """Write a Split into parts of `sizes`, in the form of the model's operator set."""
        attributes: dict[str, Attributes] = {"axis": axis}
        inputs = [value]
        if self.opset_version < _SPLIT_TAKES_SIZES:
            attributes["split"] = sizes
        else:
            inputs.append(self.constant(np.array(sizes, np.int64), f"{names[0]}_sizes"))
        return self.node("Split", inputs, names, ir.convenience.convert_attributes(attributes))

    def reduce_max(self, value: ir.Value, axis: int, name: str) -> ir.Value:
        """Write the largest element along an axis, which stays with size 1."""
        if self.opset_version < _REDUCE_TAKES_AXES:
            return self.op("ReduceMax", [value], name, axes=[axis], keepdims=1)
        return self.op("ReduceMax", [value, self.constant(np.array([axis]), f"{name}_axes")], name, keepdims=1)

    def node(
        self, op_type: str, inputs: Sequence[ir.Value | None], names: Sequence[str], attributes: Sequence[ir.Attr] = ()
    ) -> Sequence[ir.Value]:
        """Write a node with one output for each of `names`, called after the first."""
        domain, _, op_type = op_type.rpartition("::")
        outputs = [ir.Value(name=self.fresh_name(name)) for name in names]
        node = ir.Node(domain, op_type, inputs, attributes, outputs=outputs, name=outputs[0].name)
        if self.before is None:
            self._graph.append(node)
        else:
            self._graph.insert_before(self.before, node)
        return node.outputs

    def constant(self, array: NDArray[np.generic], name: str) -> ir.Value:
        """Write an initializer, or return the one of the same content that was written before."""
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            tensor = ir.tensor(array, name=self.fresh_name(name))
            value = ir.Value(
                name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            self._graph.register_initializer(value)
            self._constants[key] = value
        return self._constants[key]


def _values(graph: ir.Graph) -> chain[ir.Value]:
    produced = (value for node in graph for value in node.outputs)
    return chain(graph.inputs, graph.initializers.values(), produced)
