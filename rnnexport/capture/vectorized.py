"""Runs a loop of an outline over all its steps at once.

1. A cell whose state is only its own previous output is a recurrent layer over the steps: one fused node.
2. What else depends on its own previous result is run step by step, as one Scan (`scanning.py`).
3. A layer that a step calls over rows of its own takes those of all steps as one batch.
4. Everything else in the body is computed for all steps together, the steps in front.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from rnnexport.capture.failures import LoopError
from rnnexport.capture.interception import OPAQUE, over_other_rows
from rnnexport.capture.outline import (
    Constant,
    Element,
    Gathered,
    Loop,
    Operation,
    Outer,
    Previous,
    Same,
    SizeIndex,
    StepIndex,
)
from rnnexport.capture.scanning import Steps, cycles, is_same

aten = torch.ops.aten
CELLS = {
    aten.lstm_cell.default: "LSTM",
    aten.gru_cell.default: "GRU",
    aten.rnn_tanh_cell.default: "RNN_TANH",
    aten.rnn_relu_cell.default: "RNN_RELU",
}
_UNCHANGED = {
    aten.dropout.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
}
_OVER_ROWS = {
    aten.conv1d.default,
    aten.conv2d.default,
    aten.batch_norm.default,
    aten.group_norm.default,
    aten.max_pool2d.default,
    aten.avg_pool1d.default,
    aten.avg_pool2d.default,
}
_CASTS = {aten.to.dtype, aten._to_copy.default}
_TO_THE_END = 2**62


class NotVectorizableError(LoopError):
    """The loop's steps depend on each other; the message says how."""


@dataclass(frozen=True, slots=True)
class Series:
    """A value at every step."""

    steps: Any
    """[steps, …], or a tuple of such; `None` where only the final value is known"""
    final: Tensor | None = None
    """The last step's value, where it is known without slicing `steps`."""


RunCell = Callable[..., tuple[Tensor, list[Tensor]]]
"""cell, x [T, B, I], states [B, H], weights, → y [T, B, H], final states [B, H]"""


class VectorizedLoop:
    """The values of a loop's operations at all steps.

    Args:
        loop: The loop.
        length: The number of steps that the outline's numbers refer to; may be symbolic.
        outer: Gives the value of an `Outer`, `Element` or `Gathered`.
        run_cell: Runs a recurrent layer.
        read_outside: Offsets whose results at every step are read outside of the loop.
        is_real: Whether real numbers are computed, and no graph is traced.
    """

    def __init__(
        self,
        loop: Loop,
        length: Any,
        outer: Callable[[Any], Any],
        run_cell: RunCell,
        *,
        read_outside: set[int],
        is_real: bool,
    ) -> None:
        self.body, self.length, self.outer, self.run_cell = prepared_body(loop.body), length, outer, run_cell
        self.read_outside, self.is_real = read_outside, is_real
        self.cycle_of = {offset: cycle for cycle in cycles(self.body) for offset in cycle}
        self.count = loop.count.at(length)
        self.last = StepIndex(loop.count.per_length, 0, loop.count.constant - 1)
        self.values: dict[int, Any] = {}
        self.writes: dict[int | str, Tensor] = {}
        self.written = self._written()
        for offset, operation in enumerate(self.body):
            if operation.target is aten.copy_.default:
                self.value(offset)

    def steps(self, offset: int) -> Tensor:
        """All steps of an operation: [steps, …]."""
        value = self.value(offset)
        if not isinstance(value, Series):
            return torch.as_tensor(value).expand(self.count, *value.shape)
        if value.steps is None:
            raise NotVectorizableError("a cell's c is used at every step")
        return value.steps  # type: ignore[no-any-return]

    def element(self, offset: int, index: StepIndex) -> Any:
        """One step of an operation."""
        value = self.value(offset)
        if not isinstance(value, Series):
            return value
        if index == self.last:
            return value.final if value.final is not None else self.steps(offset).select(0, -1)
        return self.steps(offset).select(0, index.at(self.length))

    def value(self, offset: int) -> Any:
        """An operation's value: a `Series`, or the same for all steps."""
        cycle = self.cycle_of.get(offset, ())
        if offset not in self.values and cycle and not self.is_layer(cycle):
            self.run_steps(cycle)
        if offset not in self.values:
            self.values[offset] = _PENDING
            self.values[offset] = self.compute(self.body[offset], offset)
        if self.values[offset] is _PENDING:
            raise NotVectorizableError("a step reads what the step before it computed")
        return self.values[offset]

    def is_layer(self, cycle: Sequence[int]) -> bool:
        """Whether a cycle is one cell that is fed its own output, and whose c nobody reads but itself."""
        cells = [offset for offset in cycle if self.body[offset].target in CELLS]
        rest = {self.body[offset].target for offset in cycle} - CELLS.keys()
        if len(cells) != 1 or not rest <= {*_UNCHANGED, operator.getitem}:
            return False
        (cell,) = cells
        states = self.states_of(cell)
        if [self.own_output(state, cell) for state in states] != ([0, 1] if len(states) == 2 else [None]):
            return False
        c = {o for o in cycle if self.body[o].target is operator.getitem and self.body[o].args[1].constant == 1}
        return not c & self.read_from_outside(cycle)

    def states_of(self, cell: int) -> tuple[Any, ...]:
        """The operands of a cell that are its states."""
        states = self.body[cell].args[1]
        return states if CELLS[self.body[cell].target] == "LSTM" else (states,)

    def read_from_outside(self, cycle: Sequence[int]) -> set[int]:
        """The operations of a cycle that others read at every step."""
        rest = (operation for offset, operation in enumerate(self.body) if offset not in cycle)
        read = {leaf.offset for op in rest for leaf in op.leaves() if isinstance(leaf, Same | Previous)}
        return set(cycle) & (read | self.read_outside)

    def run_steps(self, cycle: Sequence[int]) -> None:
        """Compute the operations of a cycle step by step."""
        for offset in cycle:
            schema = getattr(self.body[offset].target, "_schema", None)
            if schema is not None and schema.is_mutable:
                raise NotVectorizableError(f"a step changes a tensor in place with {self.body[offset].target}")

        def value_of(reference: Any) -> tuple[bool, Any]:
            value = self.resolve(reference) if isinstance(reference, _REFERENCES) else reference
            return (True, value.steps) if isinstance(value, Series) else (False, value)

        steps = Steps(self.body, cycle, value_of, lambda previous: self.outer(previous.initial))
        carried = {previous.offset for previous in steps.carried}
        wanted = sorted(self.read_from_outside(cycle) | carried)
        try:
            results = steps.run(wanted, self.count, is_real=self.is_real)
        except NotVectorizableError:
            raise
        except Exception as exc:  # PyTorch's scan raises what its tracers raise
            reason = (str(exc).strip().splitlines() or [""])[0]
            raise NotVectorizableError(f"its steps cannot be written as a Scan: {reason}") from exc
        self.values |= {offset: Series(rows, final) for offset, (rows, final) in results.items()}

    def compute(self, operation: Operation, offset: int) -> Any:
        """Compute an operation of the body at all steps."""
        target = operation.target
        if target in CELLS:
            return self.cell(operation, offset)
        if target is aten.copy_.default:
            return self.write(operation)
        if target in _UNCHANGED:
            return self.resolve(operation.args[0])
        if target is operator.getitem:
            return self.item(operation)
        if target in (aten.select.int, aten.slice.Tensor) and (moved := self.window(operation)) is not None:
            return moved
        if target is aten.slice.Tensor and any(isinstance(self.resolve(n), Series) for n in operation.args[1:]):
            raise NotVectorizableError(
                "a step cuts a tensor at a number of its own; give the lengths to pack_padded_sequence, or use a mask "
                "such as torch.arange(x.shape[1]) < lengths[:, None]"
            )
        if target is aten.select.int and (picked := self.picked(operation)) is not None:
            return picked
        if target is aten.item.default and isinstance(number := self.resolve(operation.args[0]), Series):
            return number
        if target is OPAQUE:
            return self.layer(operation)
        if getattr(target, "_schema", None) is not None and target._schema.is_mutable:
            raise NotVectorizableError(f"a step changes a tensor in place with {target}")
        return self.everywhere(operation)

    def cell(self, operation: Operation, offset: int) -> tuple[Series, ...]:
        """A cell that is fed its own previous output is a layer over the steps, any other a layer over one step."""
        kind = CELLS[operation.target]
        x = self.at_all_steps(self.resolve(operation.args[0]))
        weights = [None if isinstance(w, Constant) else self.outer(w) for w in operation.args[2:]]
        if offset in self.cycle_of:
            initial = [self.outer(state.initial) for state in self.states_of(offset)]
            y, final = self.run_cell(kind, operation.args[2], x, initial, weights)
            results = tuple(Series(y if index == 0 else None, state) for index, state in enumerate(final))
        else:  # its states are none of its own: one step over the rows of all steps
            states = [self.at_all_steps(self.resolve(state)).flatten(0, 1) for state in self.states_of(offset)]
            _, final = self.run_cell(kind, operation.args[2], x.flatten(0, 1).unsqueeze(0), states, weights)
            results = tuple(Series(state.reshape(self.count, x.shape[1], -1)) for state in final)
        return results if kind == "LSTM" else results[0]  # type: ignore[return-value]

    def own_output(self, state: Any, cell: int) -> int | str | None:
        """Which output of the cell a state is: 0 or 1 of an LSTM, `None` for a GRU's only one."""
        if not isinstance(state, Previous):
            return "another value"
        offset = state.offset
        while self.body[offset].target in _UNCHANGED and isinstance(self.body[offset].args[0], Same):
            offset = self.body[offset].args[0].offset
        operation = self.body[offset]
        if offset == cell:
            return None
        if operation.target is operator.getitem and operation.args[0] == Same(cell):
            return int(operation.args[1].constant)
        return "another value"

    def item(self, operation: Operation) -> Any:
        """One output of a cell, or one part of what `unbind` gave."""
        container, index = operation.args
        value = self.resolve(container)
        if isinstance(value, Unbound):
            return Series(_run_of_steps(value.tensor, index, self.length, self.count))
        if isinstance(value, Series):
            return Series(value.steps[index.constant])
        return value[index.constant]

    def window(self, operation: Operation) -> Any:
        """`x[:, t]` and `x[:, t:t+1]` at all steps are x with its steps in front."""
        base = self.resolve(operation.args[0])
        numbers = [argument for argument in operation.args[1:] if isinstance(argument, StepIndex)]
        if not operation.args[1:]:  # a slice of everything
            return base
        if isinstance(base, Series) or len(numbers) != len(operation.args) - 1:
            return None
        if operation.target is aten.slice.Tensor and len(numbers) > 2 and numbers[2].constant > _TO_THE_END:
            return base if numbers[1] == StepIndex(0, 0, 0) else None
        axis, start = numbers[0].constant, numbers[1]
        if start.per_step == 0:
            return None
        if operation.target is aten.slice.Tensor:
            if numbers[2:] != [StepIndex(start.per_length, start.per_step, start.constant + 1)]:
                raise NotVectorizableError("a step reads several steps of a tensor")
            axis = axis % base.dim()
            moved = _run_of_steps(base.movedim(axis, 0), start, self.length, self.count)
            return Series(moved.unsqueeze(axis + 1))
        return Series(_run_of_steps(base.movedim(axis, 0), start, self.length, self.count))

    def picked(self, operation: Operation) -> Series | None:
        """`row[n]`, where n is another number in each step."""
        base, axis, number = map(self.resolve, operation.args)
        if not isinstance(number, Series):
            return None
        rows = self.at_all_steps(base)
        return Series(rows.movedim(axis % (rows.dim() - 1) + 1, 1)[torch.arange(self.count), number.steps])

    def layer(self, operation: Operation) -> Any:
        """A layer over rows that each step has, whose state it does not hand on."""
        operands, cell = self.resolve_all(operation.args[0]), operation.args[1].value
        attributes = {name: self.resolve_all(value) for name, value in operation.kwargs if name.startswith("attr_")}
        if not any(isinstance(operand, Series) for operand in operands):
            return over_other_rows(operands, cell, attributes, is_real=self.is_real)
        if any(isinstance(weight, Series) for weight in operands[4:]):
            raise NotVectorizableError("a step computes the weights of a layer")
        rows = self.at_all_steps(operands[0]).shape[2]
        for place, batch_axis in enumerate((1, 1, 1, 0)):
            if operands[place] is not None:
                steps = self.at_all_steps(operands[place])
                operands[place] = steps.movedim(0, batch_axis).flatten(batch_axis, batch_axis + 1)
        results = over_other_rows(operands, cell, attributes, is_real=self.is_real)
        return Series(tuple(r.reshape(r.shape[0], self.count, rows, -1).movedim(1, 0) for r in results))

    def at_all_steps(self, value: Any) -> Tensor:
        """[steps, …] of a value."""
        steps: Tensor = value.steps if isinstance(value, Series) else value.expand(self.count, *value.shape)
        return steps

    def write(self, operation: Operation) -> None:
        """`out[:, t] = value` at all steps is the values with their steps where out has them."""
        target, source = operation.args[:2]
        view = self.body[target.offset] if isinstance(target, Same) else None
        if view is None or view.target is not aten.select.int:
            raise NotVectorizableError("a step writes into a tensor that is not one step of an output")
        base, axis, index = whole(self.body, view.args[0]), view.args[1].constant, view.args[2]
        if not isinstance(base, Outer):
            raise NotVectorizableError("a step writes into what a step made")
        out = self.writes.get(base.source, self.outer(base))
        value = self.resolve(source)
        steps = self.at_all_steps(value)
        rows = out.movedim(axis, 0)
        steps = steps.expand(self.count, *rows.shape[1:]).to(out.dtype)
        if abs(index.per_step) != 1:
            raise NotVectorizableError("the steps do not write one step of their output after the other")
        first = index.at(self.length)
        if index.per_step < 0:
            steps, first = steps.flip(0), first - self.count + 1
        if not is_same(self.count, rows.shape[0]):
            steps = torch.cat([rows.narrow(0, 0, first), steps, rows[first + self.count :]])
        self.writes[base.source] = steps.movedim(0, axis)

    def _written(self) -> set[Any]:
        """The outputs that steps write into."""
        targets = [operation.args[0] for operation in self.body if operation.target is aten.copy_.default]
        views = [self.body[target.offset] for target in targets if isinstance(target, Same)]
        return {whole(self.body, view.args[0]) for view in views}

    def everywhere(self, operation: Operation) -> Any:
        """Compute an operation at all steps together; once, if nothing in it depends on the step."""
        operands = (self.resolve_all(operation.args), {name: self.resolve_all(arg) for name, arg in operation.kwargs})
        leaves, structure = tree_flatten(operands, is_leaf=lambda leaf: isinstance(leaf, Series))
        places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Series)]

        def run(*tensors: Tensor) -> Any:
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            args, kwargs = tree_unflatten(filled, structure)
            return operation.target(*args, **kwargs)

        if not places:
            return run()
        if any(leaves[place].steps is None for place in places):
            raise NotVectorizableError("a cell's c is used at every step")
        if operation.target in _OVER_ROWS and places == [0]:
            return Series(self.with_steps_as_rows(operation, leaves[0].steps))
        if operation.target in (aten.layer_norm.default, aten.cat.default, aten.stack.default):
            return Series(self.with_steps_in_front(operation.target, leaves, structure))
        if operation.target in _CASTS or torch.Tag.pointwise in getattr(operation.target, "tags", ()):
            return Series(run(*self.with_steps_before_broadcasting(leaves)))
        return Series(torch.func.vmap(run)(*(leaves[place].steps for place in places)))

    def with_steps_before_broadcasting(self, leaves: list[Any]) -> list[Tensor]:
        """The steps of the operands of an element-wise operator, with as many axes after the first as any has."""
        one_step = [leaf.steps.dim() - 1 if isinstance(leaf, Series) else getattr(leaf, "ndim", 0) for leaf in leaves]
        rank = max(one_step)
        steps = [leaf.steps for leaf in leaves if isinstance(leaf, Series)]
        return [tensor[(slice(None), *[None] * (rank + 1 - tensor.dim()))] for tensor in steps]

    def with_steps_as_rows(self, operation: Operation, steps: Tensor) -> Tensor:
        """Operators over rows; vmap would turn the number of rows into a number."""
        operands = [self.resolve_all(operand) for operand in operation.args[1:]]
        options = {name: self.resolve_all(option) for name, option in operation.kwargs}
        result = operation.target(steps.flatten(0, 1), *operands, **options)
        return result.reshape(self.count, steps.shape[1], *result.shape[1:])  # type: ignore[no-any-return]

    def with_steps_in_front(self, target: Any, leaves: list[Any], structure: Any) -> Tensor:
        """Operators that need only another axis; vmap would turn the sizes of their operands into numbers."""
        steps = [leaf.steps if isinstance(leaf, Series) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(steps, structure)
        if target is aten.layer_norm.default:
            return target(*args, **kwargs)  # type: ignore[no-any-return]
        operands, axis = args[0], args[1] if len(args) > 1 else 0
        alike = [
            tensor if isinstance(leaf, Series) else tensor.expand(self.count, *tensor.shape)
            for tensor, leaf in zip(operands, leaves, strict=False)
        ]
        return target(alike, axis + 1 if axis >= 0 else axis)  # type: ignore[no-any-return]

    def numbers(self, index: StepIndex) -> Tensor:
        """An integer at all steps."""
        numbers: Tensor = torch.arange(self.count) * index.per_step + index.at(self.length)
        return numbers

    def resolve_all(self, argument: Any) -> Any:
        """The value of an operand that may be a list."""
        return [self.resolve_all(item) for item in argument] if isinstance(argument, tuple) else self.resolve(argument)

    def resolve(self, reference: Any) -> Any:
        """The value of an operand: a `Series`, or the same for all steps."""
        match reference:
            case Constant(value):
                return value
            case StepIndex():
                return Series(self.numbers(reference)) if reference.per_step else reference.at(self.length)
            case Same(offset):
                return self.value(offset)
            case Previous(offset, initial):
                first = self.outer(initial)
                steps = self.steps(offset)
                return Series(torch.cat([first.expand(1, *steps.shape[1:]), steps])[:-1])
            case Outer() if reference in self.written:
                raise NotVectorizableError("a step reads an output that other steps write")
            case Element(index=index) if index.per_step:
                whole = self.outer(Gathered(reference.loop, reference.offset, reverse=False)).tensor
                return Series(_run_of_steps(whole, index, self.length, self.count))
        return self.outer(reference)


def whole(body: Sequence[Operation], base: Any) -> Any:
    """Look through `[:]`."""
    while isinstance(base, Same) and body[base.offset].target is aten.slice.Tensor:
        base = body[base.offset].args[0]
    return base


def prepared_body(body: Sequence[Operation]) -> tuple[Operation, ...]:
    """A loop's body without what only PyTorch's way of running step after step needs.

    1. Operators over a step's own number take it as a tensor, so that all steps can be computed together.
    2. A step that reads its place in an output, after it wrote there, reads what it wrote.
    """
    new: list[Operation] = []
    written: dict[Any, Any] = {}
    for operation in body:
        if operation.target is aten.copy_.default and isinstance(operation.args[0], Same):
            view = new[operation.args[0].offset]
            if view.target is aten.select.int:
                written[whole(new, view.args[0]), view.args[1:]] = operation.args[1]
        elif operation.target is aten.select.int:
            place = whole(new, operation.args[0]), operation.args[1:]
            if isinstance(place[0], Outer) and isinstance(source := written.get(place), Same):
                operation = Operation(aten.alias.default, (source,), ())
        elif any(isinstance(leaf, StepIndex) and leaf.per_step for leaf in operation.args):
            with_tensor = getattr(getattr(operation.target, "overloadpacket", None), "Tensor", None)
            if getattr(operation.target, "_overloadname", "") == "Scalar" and with_tensor is not None:
                operation = Operation(with_tensor, operation.args, operation.kwargs)
        new.append(operation)
    return tuple(new)


@dataclass(frozen=True, slots=True)
class Unbound:
    """What `unbind` would give, not yet taken apart: a tensor with its parts in front."""

    tensor: Tensor


_PENDING = object()
_REFERENCES = (Constant, StepIndex, SizeIndex, Outer, Same, Previous, Element, Gathered, tuple)


def _run_of_steps(tensor: Tensor, start: StepIndex, length: Any, count: Any) -> Tensor:
    """Rows `start`, `start + 1` … or `start`, `start - 1` … of a tensor, `count` of them."""
    if abs(start.per_step) != 1:
        raise NotVectorizableError("a step reads more than one step ahead")
    first = start.at(length)
    if start.per_length == 0 and start.constant < 0:
        first = first + tensor.shape[0]
    lowest = first if start.per_step == 1 else first - count + 1
    rows = tensor
    if not is_same(count, tensor.shape[0]):
        rows = tensor.narrow(0, lowest, count)
    return rows if start.per_step == 1 else rows.flip(0)
