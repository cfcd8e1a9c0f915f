"""Writes an LSTM or GRU operator in the place of its written-out steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.nodes import node_name, required_input
from rnnexport.onnx_files.writer import GraphWriter
from rnnexport.onnx_files.zeros import is_zero
from rnnexport.passes.recognising.cell_runs import CellRun
from rnnexport.passes.recognising.selections import SelectedValue
from rnnexport.passes.writing.scans import is_reverse, scan_inputs, scan_outputs

_AXES_ARE_AN_INPUT = 13


class OperatorWriter:
    """Writes into one graph of a model; the steps' own nodes lose their readers and stay."""

    def __init__(self, model: ir.Model, graph: ir.Graph) -> None:
        self._writer = GraphWriter(model, graph)
        self._opset = model.opset_imports.get("", 1)
        self._written: dict[ir.Value, SelectedValue] = {}

    def write(self, run: CellRun) -> None:
        """Write the operator of a run, and give its outputs to whoever read the steps'."""
        last, name = run.steps[-1], node_name(run.steps[-1].node)
        reverse = all(_goes_backwards(self._steps(step)) for step in zip(*run.inputs, strict=True))
        parts = [self._sequence(self._steps(step), reverse, name) for step in zip(*run.inputs, strict=True)]
        x = parts[0] if len(parts) == 1 else self._writer.op("Concat", parts, f"{name}.X", axis=2)
        y, *final = self._operator(run, x, list(self._initial_states(run, name)), reverse, name)
        steps = len(run.steps)
        order = range(steps)[::-1] if reverse else range(steps)
        every_h = self._squeezed(y, 1, f"{name}.every_h")
        every_h.dtype, every_h.shape = ir.DataType.FLOAT, ir.Shape([steps, *(last.h_n.shape or ())])
        self._replace_lists([cell.h_n for cell in (run.steps[::-1] if reverse else run.steps)], y, name)
        for cell, position in zip(run.steps, order, strict=True):
            h = (
                self._squeezed(final[0], 0, f"{name}.h_n")
                if cell is last
                else self._element(every_h, 0, position, name)
            )
            self._replace(cell.h_n, h)
            self._written[cell.h_n] = SelectedValue(every_h, 0, position, h)
        if last.c_n is not None:
            c = self._squeezed(final[1], 0, f"{name}.c_n")
            self._replace(last.c_n, c)
            self._written[last.c_n] = SelectedValue(c)

    def write_scan(self, node: ir.Node, run: CellRun) -> None:
        """Write the operator of a Scan's body, and give its outputs to whoever read the Scan's."""
        name = node_name(node)
        sequences, first = scan_inputs(node, run)
        parts = [self._time_first(value, axis % 3, name) for value, axis in sequences]
        x = parts[0] if len(parts) == 1 else self._writer.op("Concat", parts, f"{name}.X", axis=2)
        states = [None if is_zero(value) else self._unsqueezed(value, 0, f"{name}.state") for value in first]
        y, *final = self._operator(run, x, states, is_reverse(node), name)
        last, every = scan_outputs(node, run)
        for old, new in zip(last, final, strict=True):
            self._replace(old, self._squeezed(new, 0, f"{name}.last"))
        for old, axis in every:
            self._replace(old, self._time_at(axis % 3, y, name))

    def _operator(
        self, run: CellRun, x: ir.Value, states: list[ir.Value | None], reverse: bool, name: str
    ) -> Sequence[ir.Value]:
        """Write the operator itself."""
        inputs = [x, *self._weights(run, name), None, *states]
        while inputs[-1] is None:
            inputs.pop()
        step = run.steps[0]
        attributes = {"hidden_size": step.hidden_size, "direction": "reverse" if reverse else "forward"}
        if step.cell == "GRU":
            attributes["linear_before_reset"] = int(not step.reset_before)
        names = [f"{name}.{kind}" for kind in ("Y", "Y_h", "Y_c")[: 3 if step.cell == "LSTM" else 2]]
        return self._writer.node(step.cell, inputs, names, ir.convenience.convert_attributes(attributes))

    def _weights(self, run: CellRun, name: str) -> list[ir.Value | None]:
        weights = run.weights
        assert weights.r is not None
        arrays = {"W": weights.w.T, "R": weights.r.T, "B": np.concatenate([weights.bias, weights.recurrent_bias])}
        values = {
            kind: self._writer.constant(np.ascontiguousarray(array[None], np.float32), f"{name}.{kind}")
            for kind, array in arrays.items()
            if kind != "B" or np.any(array)
        }
        return [values["W"], values["R"], values.get("B")]

    def _initial_states(self, run: CellRun, name: str) -> Iterator[ir.Value | None]:
        """h_0 and c_0, [1, B, H]; `None` where it is zero."""
        h, c = run.states[0], run.steps[0].c
        for source, letter in ((h, "h"), (SelectedValue(c) if c is not None else None, "c")):
            if source is None or is_zero(source.tensor):
                yield None
            else:
                yield self._unsqueezed(self._tensor(self._now(source), name), 0, f"{name}.{letter}_0")

    def _now(self, source: SelectedValue) -> SelectedValue:
        """Where a value is, now that earlier runs have been written."""
        return self._written.get(source.value, source) if source.axis is None else source

    def _steps(self, sources: Sequence[SelectedValue]) -> list[SelectedValue]:
        return [self._now(source) for source in sources]

    def _tensor(self, source: SelectedValue, name: str) -> ir.Value:
        if source.axis is None or source.origin is not None:
            return source.tensor
        return self._element(source.value, source.axis, source.index, name)

    def _sequence(self, steps: list[SelectedValue], reverse: bool, name: str) -> ir.Value:
        """The inputs of all steps as [T, B, n]; of a reverse layer, in the order of time."""
        first = steps[-1] if reverse else steps[0]
        if not (_goes_forwards(steps) or reverse) or len(steps) == 1 or first.axis is None:
            parts = [self._unsqueezed(self._tensor(step, name), 0, f"{name}.x") for step in steps]
            return parts[0] if len(parts) == 1 else self._writer.op("Concat", parts, f"{name}.X", axis=0)
        whole = self._time_first(first.value, first.axis, name)
        assert first.value.shape is not None
        if first.value.shape[first.axis] == len(steps):
            return whole
        numbers = (first.index, first.index + len(steps), 0)
        limits = [self._writer.constant(np.array([n], np.int64), f"{name}.limit") for n in numbers]
        return self._writer.op("Slice", [whole, *limits], f"{name}.X")

    def _time_first(self, value: ir.Value, axis: int, name: str) -> ir.Value:
        """A tensor of rank 3 with this axis first."""
        if axis == 0:
            return value
        return self._writer.op("Transpose", [value], f"{name}.X", perm=[axis, *(n for n in range(3) if n != axis)])

    def _time_at(self, axis: int, y: ir.Value, name: str) -> ir.Value:
        """Y without its directions, time at this axis."""
        stacked = self._squeezed(y, 1, f"{name}.every_h")
        order = {1: [1, 0, 2], 2: [1, 2, 0]}
        return self._writer.op("Transpose", [stacked], f"{name}.every_h", perm=order[axis]) if axis else stacked

    def _replace_lists(self, states: list[ir.Value], y: ir.Value, name: str) -> None:
        """Give Y to those who stack the h of all steps."""
        for node, axis in _stacks(states):
            self._replace(node.outputs[0], self._time_at(axis, y, name))

    def _replace(self, old: ir.Value, new: ir.Value) -> None:
        new.type, new.shape = old.type, old.shape
        if old.is_graph_output():
            name, old.name = old.name, self._writer.fresh_name(f"{old.name}.written_out")
            new.name = name
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)

    def _element(self, value: ir.Value, axis: int, index: int, name: str) -> ir.Value:
        position = self._writer.constant(np.array(index, np.int64), f"{name}.step")
        return self._writer.op("Gather", [value, position], f"{name}.step_{index}", axis=axis)

    def _squeezed(self, value: ir.Value, axis: int, name: str) -> ir.Value:
        return self._with_axis("Squeeze", value, axis, name)

    def _unsqueezed(self, value: ir.Value, axis: int, name: str) -> ir.Value:
        return self._with_axis("Unsqueeze", value, axis, name)

    def _with_axis(self, op_type: str, value: ir.Value, axis: int, name: str) -> ir.Value:
        if self._opset < _AXES_ARE_AN_INPUT:
            return self._writer.op(op_type, [value], name, axes=[axis])
        return self._writer.op(op_type, [value, self._writer.constant(np.array([axis], np.int64), "axis")], name)


def _goes_forwards(steps: Sequence[SelectedValue]) -> bool:
    """Whether these are consecutive elements of one tensor of rank 3."""
    first = steps[0]
    whole = first.axis is not None and len(first.value.shape or ()) == 3
    return whole and all(
        step.value is first.value and step.axis == first.axis and step.index == first.index + number
        for number, step in enumerate(steps)
    )


def _goes_backwards(steps: Sequence[SelectedValue]) -> bool:
    return len(steps) > 1 and _goes_forwards(steps[::-1])


def _stacks(states: list[ir.Value]) -> list[tuple[ir.Node, int]]:
    """Nodes that stack these values, in this order, with the axis along which they do."""
    found = []
    for user in {user: None for unsqueezed, _ in states[0].uses() for user, _ in unsqueezed.outputs[0].uses()}:
        axis = user.attributes.get_int("axis", 0)
        if user.op_type != "Concat" or len(user.inputs) != len(states):
            continue
        expected = [(value, axis % 3) for value in states]
        if [_unsqueezed(value) for value in user.inputs] == expected:
            found.append((user, axis % 3))
    return found


def _unsqueezed(value: ir.Value | None) -> tuple[ir.Value | None, int] | None:
    """What an Unsqueeze of rank 2 gets, and the new axis."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Unsqueeze":
        return None
    if "axes" in node.attributes:
        axes = list(node.attributes["axes"].as_ints())
    else:
        tensor = ir.convenience.get_const_tensor(required_input(node, 1))
        axes = [] if tensor is None else tensor.numpy().reshape(-1).tolist()
    return (node.inputs[0], axes[0] % 3) if len(axes) == 1 else None
