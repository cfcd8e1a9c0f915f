"""A graph, run node by node; what no later node needs is forgotten at once."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import NoReferenceError
from rnnexport.onnx_files.operators import STACK, STACK_DOMAIN
from rnnexport.parity.float64.control_flow import CONTROL_FLOW
from rnnexport.parity.float64.node import GraphNode, Kernel
from rnnexport.parity.float64.widening import Rounding, wide, wide_tensor

Scope = MutableMapping[str, Any]


class NodeFailedError(Exception):
    """A node cannot be computed on these values; the message names it."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """What makes of a node's proto something that runs."""

    opset: int
    kernel: Callable[[GraphNode, int], Kernel]
    """Takes the node and the operator set."""
    constant: Rounding
    """Of every floating-point constant."""

    def node(self, proto: Any) -> GraphNode:
        """Describe a node.

        Raises:
            NoReferenceError: The operator set has no such operator.
        """
        from onnx import NodeProto, defs, helper

        if (proto.domain, proto.op_type) == (STACK_DOMAIN, STACK):
            version = 1
        elif proto.domain not in ("", "ai.onnx"):
            raise NoReferenceError(f"{proto.op_type} of the domain {proto.domain!r}")
        else:
            try:
                version = defs.get_schema(proto.op_type, self.opset, "").since_version
            except defs.SchemaError as exc:
                raise NoReferenceError(f"{proto.op_type}, which is not in operator set {self.opset}") from exc
        attributes = {a.name: _decoded(helper.get_attribute_value(a)) for a in proto.attribute}
        copy = NodeProto()  # the original would keep the whole file in memory
        copy.CopyFrom(proto)
        return GraphNode(proto.op_type, version, attributes, tuple(proto.input), tuple(proto.output), copy)


@dataclass(frozen=True, slots=True)
class Step:
    """One node, ready to run."""

    node: GraphNode
    kernel: Callable[..., tuple[Any, ...]]
    bodies: Mapping[str, Graph]
    captured: frozenset[str]
    """Values of the graph that the bodies take."""

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return f"{self.node.op_type} {self.node.proto.name or next(filter(None, self.node.outputs), '')!r}"

    def run(self, inputs: Sequence[Any], scope: Mapping[str, Any], watch: Watch | None = None) -> tuple[Any, ...]:
        """Compute the outputs; `scope` holds what the bodies capture, and `watch` sees the nodes in them."""
        if not self.bodies:
            return self.kernel(self.node, *inputs)
        bodies = {name: partial(body.call, scope=scope, watch=watch) for name, body in self.bodies.items()}
        return self.kernel(self.node, bodies, *inputs)


Watch = Callable[[Step, Sequence[Any], Mapping[str, Any], tuple[Any, ...]], tuple[Any, ...]]
"""Takes a node, its inputs, what its bodies may capture, and its outputs; returns the outputs to go on with."""


class Graph:
    """A graph, or a body.

    Raises:
        NoReferenceError: It holds an operator that is not computed here; the message names it.
    """

    def __init__(self, proto: Any, compiler: Compiler, kept: Sequence[str] = ()) -> None:
        if proto.sparse_initializer:
            raise NoReferenceError("sparse constants")
        self.inputs = [value.name for value in proto.input]
        self.outputs = [value.name for value in proto.output]
        self.constants = {tensor.name: wide_tensor(tensor, compiler.constant) for tensor in proto.initializer}
        self.steps: list[Step] = []
        for node in proto.node:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                self.constants[node.output[0]] = constant(node, compiler.constant)
            else:
                self.steps.append(_compiled(node, compiler))
        self._forgotten = self._last_uses({*self.outputs, *kept})

    def _last_uses(self, needed: set[str]) -> list[set[str]]:
        """For each step the values that none after it needs."""
        forgotten = []
        for step in reversed(self.steps):
            used = {*step.node.inputs, *step.node.outputs, *step.captured}
            forgotten.append(used - needed)
            needed |= used
        return forgotten[::-1]

    @property
    def captured(self) -> set[str]:
        """What a body takes of the graph around it."""
        known = {*self.inputs, *self.constants, *(name for step in self.steps for name in step.node.outputs), ""}
        used = {name for step in self.steps for name in (*step.node.inputs, *step.captured)}
        return (used | {*self.outputs}) - known

    def run(
        self, feeds: Mapping[str, Any], scope: Mapping[str, Any] | None = None, watch: Watch | None = None
    ) -> Scope:
        """Compute all values, and return those that are inputs, constants, outputs or kept.

        Args:
            feeds: The inputs.
            scope: What a body may capture.
            watch: Sees every node, those in bodies each time that they run, before the node of the body.

        Raises:
            NodeFailedError: A node cannot be computed on these values.
            NoReferenceError: On these values an operator has a form that is not proven.
        """
        values: Scope = ChainMap(dict(feeds), self.constants, *([scope] if scope is not None else []))  # type: ignore[arg-type]
        for step, forgotten in zip(self.steps, self._forgotten, strict=True):
            inputs = [values[name] if name else None for name in step.node.inputs]
            try:
                outputs = step.run(inputs, values, watch)
            except (NoReferenceError, NodeFailedError):
                raise
            except Exception as exc:  # a kernel raises what comes
                first_line = (str(exc).splitlines() or [""])[0]
                raise NodeFailedError(f"{step.name} fails: {type(exc).__name__}: {first_line}") from exc
            if watch is not None:
                outputs = watch(step, inputs, values, outputs)
            values.update({name: value for name, value in zip(step.node.outputs, outputs, strict=False) if name})
            del inputs, outputs
            for name in forgotten:
                values.maps[0].pop(name, None)  # type: ignore[attr-defined]
        return values

    def call(self, inputs: Sequence[Any], scope: Mapping[str, Any], watch: Watch | None = None) -> list[Any]:
        """Run a body."""
        values = self.run(dict(zip(self.inputs, inputs, strict=True)), scope, watch)
        return [values[name] for name in self.outputs]


def _compiled(proto: Any, compiler: Compiler) -> Step:
    node = compiler.node(proto)
    graphs = [attribute for attribute in proto.attribute if attribute.HasField("g")]
    bodies = {attribute.name: Graph(attribute.g, compiler) for attribute in graphs}
    captured = frozenset[str]().union(*(body.captured for body in bodies.values()))
    kernel = CONTROL_FLOW[node.op_type] if node.op_type in CONTROL_FLOW else compiler.kernel(node, compiler.opset)
    return Step(node, kernel, bodies, captured)


def constant(node: Any, rounding: Rounding) -> NDArray[Any]:
    """Return the value of a Constant node.

    Raises:
        NoReferenceError: It is sparse.
    """
    from onnx import helper

    (attribute,) = node.attribute
    if attribute.name == "value":
        return wide_tensor(attribute.t, rounding)
    if attribute.name == "sparse_value":
        raise NoReferenceError("sparse constants")
    value = helper.get_attribute_value(attribute)
    array: NDArray[Any] = wide(np.array(value, object if "string" in attribute.name else None))
    return array


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return [_decoded(item) for item in value] if isinstance(value, list) else value
