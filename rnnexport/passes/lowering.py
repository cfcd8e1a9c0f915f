"""LSTM and GRU nodes written out: X·Wᵀ + b once over all steps, then a Scan over time, or one step after the other.

1. The product with W is made over all steps at once, see `projection.py`. What remains in a step is the one with R.
2. `scan` keeps batch and time dynamic. `unrolled` needs a fixed number of time steps; of one step nothing is left but
   the step itself.
3. Rows of different lengths: on padded steps the states stand still and Y is 0, by Where, in float32, as the operator
   says. A row of length 0 keeps its initial state.
4. Nodes of other equations than the usual ones, or whose weights are no constants, stay as they are: see
   `why_not_readable`. Names of graph inputs and outputs stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.onnx_files.nodes import node_name
from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.passes.recognising.recurrent import (
    Direction,
    Layer,
    is_recurrent,
    read_layer,
    remove_unused,
    time_steps,
    why_not_readable,
)
from rnnexport.passes.writing.cell_steps import JointStep, StepWriter, projection_sizes
from rnnexport.passes.writing.layer_outputs import replace_outputs
from rnnexport.passes.writing.length_masks import LengthMasks
from rnnexport.passes.writing.matmul_kernels import FLOAT32, MICROSOFT, MatmulKernel
from rnnexport.passes.writing.projection import Projection

TimeLoop = Literal["scan", "unrolled"]
LARGEST_UNROLLED = 64
"""Time steps; above that the graph is long to load, and Scan costs little."""
_B = "batch"


@dataclass(frozen=True)
class CalibrationStatistics:
    """Σ x·xᵀ over the inputs of a layer's products, as calibration found them; by direction for h."""

    x: NDArray[np.float64]
    h: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True)
class Choices:
    """How layers are written."""

    form: TimeLoop = "scan"
    recurrent: MatmulKernel = FLOAT32
    """The product with R."""
    projection: MatmulKernel = FLOAT32
    """The product with W, over all steps."""
    keep_float32: Collection[str] = ()
    """Names of nodes whose weights are not quantized."""
    float32_candidates: Collection[str] = ()
    """Names of nodes whose candidate's weights (of an LSTM's c, a GRU's h) are not quantized."""
    moments: Mapping[str, CalibrationStatistics] = field(default_factory=dict)
    """By the node's name."""


def why_not_lowerable(node: ir.Node, form: TimeLoop) -> str | None:
    """Return why a node cannot be written out, or `None` if it can."""
    if reason := why_not_readable(node):
        return reason
    steps = time_steps(node)
    if form == "unrolled" and steps is None:
        return "its number of time steps is not fixed: fix it, or use scan"
    if form == "unrolled" and steps is not None and steps > LARGEST_UNROLLED:
        return f"its {steps} time steps are more than {LARGEST_UNROLLED}"
    return None


class Lowering(ir.passes.InPlacePass):
    """Write LSTM and GRU nodes out; see the rules of this module. A second run changes nothing."""

    def __init__(self, choices: Choices) -> None:
        """Take how each layer is to be written."""
        super().__init__()
        self._choices = choices

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place, sub-graphs included."""
        form = self._choices.form
        modified = False
        for graph in list(model.graphs()):
            nodes = [node for node in graph if is_recurrent(node) and why_not_lowerable(node, form) is None]
            writer = GraphWriter(model, graph)
            for node in nodes:
                writer.before = node
                _LayerRewriter(model, writer, read_layer(node), self._choices).rewrite()
            modified = modified or bool(nodes)
        if any(node.domain == MICROSOFT for node in model.graph.all_nodes()):
            model.opset_imports.setdefault(MICROSOFT, 1)
        return ir.passes.PassResult(model, modified)


class _LayerRewriter:
    """Writes one layer out, before its node."""

    def __init__(self, model: ir.Model, writer: GraphWriter, layer: Layer, choices: Choices) -> None:
        self._model, self._writer, self._layer, self._form = model, writer, layer, choices.form
        kept = layer.name in choices.keep_float32
        self._recurrent = FLOAT32 if kept else choices.recurrent
        self._projection = FLOAT32 if kept else choices.projection
        self._float32_candidate = layer.name in choices.float32_candidates
        self._moments = choices.moments.get(layer.name)
        self._rank = 2 if choices.form == "scan" else 3
        """Of a step's states: [B, H], or [1, B, H]."""
        self._joint = (
            choices.form == "unrolled"
            and time_steps(layer.node) == 1
            and self._recurrent == self._projection
            and not self._float32_candidate
            and JointStep.pays(layer, self._recurrent)
        )

    def rewrite(self) -> None:
        """Put the new nodes in place of the old one."""
        layer = self._layer
        masks = None
        if layer.lengths is not None:
            masks = LengthMasks(self._writer, f"{layer.name}.lengths", layer.x, layer.lengths)
        valid = masks.valid() if masks else None
        projected = [layer.x] * len(layer.directions) if self._joint else self._projection_parts()
        run = self._scan if self._form == "scan" else self._unroll
        results = []
        for number, direction in enumerate(layer.directions):
            count = len(projected) // len(layer.directions)
            parts = projected[number * count : (number + 1) * count]
            results.append(run(direction, number, parts, valid))
        weights = layer.node.inputs[1:4]
        replace_outputs(self._writer, layer, results, states_have_a_direction=self._rank == 3)
        remove_unused(weights)

    def _projection_parts(self) -> Sequence[ir.Value]:
        projection = Projection(
            self._writer,
            self._layer,
            self._projection,
            self._moments.x if self._moments else None,
            float32_candidate=self._float32_candidate,
            rows_meet_later=self._recurrent.mixes_rows,
            many_rows=self._form == "scan",
        )
        return projection.parts()

    def _initial_states(self, number: int) -> list[ir.Value]:
        """The states before the first step of a direction."""
        given = zip(self._layer.initial_states, "hc", strict=False)
        return [self._initial_state(value, number, letter) for value, letter in given]

    def _initial_state(self, value: ir.Value | None, number: int, letter: str) -> ir.Value:
        name, writer = f"{self._layer.directions[number].name}.{letter}_0", self._writer
        if value is None:
            return self._zero_state(name)
        if self._rank == 3 and len(self._layer.directions) == 1:
            return value
        index = np.array(number) if self._rank == 2 else np.array([number])
        return writer.op("Gather", [value, writer.constant(index, f"{name}_index")], name, axis=0)

    def _zero_state(self, name: str) -> ir.Value:
        """[B, H] or [1, B, H]."""
        writer, layer = self._writer, self._layer
        shape = writer.op("Shape", [layer.x], f"{name}_x_shape")
        axis = writer.constant(np.array([1]), f"{name}_batch_axis")
        batch = writer.op("Gather", [shape, axis], f"{name}_batch", axis=0)
        size = writer.constant(np.array([layer.hidden_size]), f"{name}_size")
        one = [writer.constant(np.array([1]), f"{name}_one")] if self._rank == 3 else []
        sizes = writer.op("Concat", [*one, batch, size], f"{name}_shape", axis=0)
        zero = writer.constant(np.array(0, np.float32), f"{name}_zero")
        return writer.op("Expand", [zero, sizes], name)

    def _scan(
        self, direction: Direction, number: int, parts: Sequence[ir.Value], valid: ir.Value | None
    ) -> list[ir.Value]:
        """Y [T, B, H] and the final states [B, H]."""
        size, states = self._layer.hidden_size, self._initial_states(number)
        prefix = f"{direction.name}.step"
        body = ir.Graph([], [], nodes=[], opset_imports=self._model.graph.opset_imports, name=f"{prefix}_body")
        writer = self._writer.inside(body)

        def given(name: str, columns: int, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
            value = ir.Value(
                name=writer.fresh_name(f"{prefix}.{name}"), shape=ir.Shape([_B, columns]), type=ir.TensorType(dtype)
            )
            body.inputs.append(value)
            return value

        before = [given(f"{letter}_before", size) for letter, _ in zip("hc", states, strict=False)]
        sizes = projection_sizes(self._layer, float32_candidate=self._float32_candidate)
        x = [given(f"x_{i}", columns) for i, columns in enumerate(sizes)]
        mask = given("valid", 1, ir.DataType.BOOL) if valid is not None else None
        step = self._cell_step(direction, number, writer)
        after, y = step.write(x, before, mask, prefix)
        if y is after[0]:
            y = writer.op("Identity", [y], f"{prefix}.y")
        for value in (*after, y):
            value.shape, value.type = ir.Shape([_B, size]), ir.TensorType(ir.DataType.FLOAT)
            body.outputs.append(value)
        scanned = [*parts, *([valid] if valid is not None else [])]
        backward = int(direction.backward)
        attributes = [
            ir.AttrGraph("body", body),
            ir.AttrInt64("num_scan_inputs", len(scanned)),
            ir.AttrInt64s("scan_input_directions", [backward] * len(scanned)),
            ir.AttrInt64s("scan_output_directions", [backward]),
        ]
        names = [f"{direction.name}.{letter}_n" for letter, _ in zip("hc", states, strict=False)]
        *final, y = self._writer.node("Scan", [*states, *scanned], [*names, f"{direction.name}.y"], attributes)
        return [y, *final]

    def _unroll(
        self, direction: Direction, number: int, parts: Sequence[ir.Value], valid: ir.Value | None
    ) -> list[ir.Value]:
        """Y [T, B, H] and the final states [1, B, H]."""
        steps = time_steps(self._layer.node)
        assert steps is not None
        prefix, states = direction.name, self._initial_states(number)
        scanned = [*parts, *([valid] if valid is not None else [])]
        cut = [
            self._writer.split(value, [1] * steps, 0, [f"{prefix}.step_{t}.x_{i}" for t in range(steps)])
            if steps > 1
            else [value]
            for i, value in enumerate(scanned)
        ]
        step = self._cell_step(direction, number, self._writer)
        outputs: dict[int, ir.Value] = {}
        for t in range(steps)[:: -1 if direction.backward else 1]:
            x = [pieces[t] for pieces in cut]
            mask = x.pop() if valid is not None else None
            states, outputs[t] = step.write(x, states, mask, f"{prefix}.step_{t}")
        in_order = [outputs[t] for t in range(steps)]
        y = self._writer.op("Concat", in_order, f"{prefix}.y", axis=0) if steps > 1 else in_order[0]
        return [y, *states]

    def _cell_step(self, direction: Direction, number: int, writer: GraphWriter) -> StepWriter:
        moments = self._moments.h[number] if self._moments else None
        if not self._joint:
            return StepWriter(
                writer,
                self._layer,
                direction,
                self._recurrent,
                moments,
                float32_candidate=self._float32_candidate,
            )
        if self._moments and moments is not None:
            moments = _side_by_side(self._moments.x, moments)
        return JointStep(writer, self._layer, direction, self._recurrent, moments)


def _side_by_side(x: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moments of x and h as one vector; what the one has to do with the other is not known."""
    nothing = np.zeros((len(x), len(h)))
    return np.block([[x, nothing], [nothing.T, h]])


def layers_left(model: ir.Model) -> list[str]:
    """Names of the LSTM and GRU nodes of a model."""
    return [node_name(node) for node in model.graph.all_nodes() if is_recurrent(node)]
