"""Finds the loops over time in a module that PyTorch could only trace step by step.

1. The module is traced at two numbers of steps. A loop is a run of operators that repeats once per step in both traces,
   with operands that are the same for all steps, come from the same or the previous step, or move by one per step.
2. What differs between the traces must be a number that grows with the number of steps. Anything else is no match.
3. The description of a third trace, of another number of steps, must be the same; else the loops are not trusted.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from rnnexport.capture.outline import (
    Constant,
    Element,
    Gathered,
    Loop,
    NoMatchError,
    Operation,
    Outer,
    Outline,
    Previous,
    Same,
    SizeIndex,
    StepIndex,
)

aten = torch.ops.aten


def find_outline(graphs: Sequence[fx.Graph], sizes: Sequence[int], lengths: Sequence[int]) -> Outline:
    """Describe three traces of one module, at three sizes of a dimension, as operations and loops.

    Args:
        graphs: The traces.
        sizes: Of the dimension in each.
        lengths: The numbers of steps that follow from these sizes.

    Raises:
        NoMatchError: There is no such description.
    """
    first: NoMatchError | None = None
    for shifts, equal_steps, states_first in itertools.product(SHIFTS, (False, True), (True, False)):
        try:
            outline, other = (
                _Comparison(
                    _Trace(graphs[0], sizes[0], lengths[0], states_first=states_first),
                    _Trace(graphs[longer], sizes[longer], lengths[longer], states_first=states_first),
                    shifts,
                    equal_steps=equal_steps,
                ).outline()
                for longer in (1, 2)
            )
        except NoMatchError as exc:
            first = first or exc
            continue
        if outline == other:
            return outline
        first = first or NoMatchError("its steps are not all alike")
    assert first is not None
    raise first


_ASSERTIONS = {aten._assert_tensor_metadata.default, aten._assert_scalar.default}
"""They come with a cast and with a number that a tensor holds, and compute nothing."""
SHIFTS = ((0,), (0, -1), (-1, 0), (0, -1, 1, -2))
"""How many steps a loop may have beside those of the dimension, in the order in which they are tried: `range(1, T)` has
one less. What only looks like a loop with some of them is none with others."""
_FACTORIES = {
    "aten.zeros.default",
    "aten.ones.default",
    "aten.full.default",
    "aten.empty.memory_format",
    "aten.new_zeros.default",
    "aten.new_ones.default",
    "aten.new_full.default",
    "aten.zeros_like.default",
    "aten.zero.default",
    "aten.fill.Scalar",
    "aten.sym_size.int",
}


@dataclass(frozen=True, slots=True)
class _AtStep:
    """Operation `offset` at one step of a loop, or of the run that is being tried, where `loop` is `None`."""

    loop: int | None
    offset: int
    step: int


class _Trace:
    """One trace: its operators in order, and where each stands in the outline found so far."""

    def __init__(self, graph: fx.Graph, size: int, length: int, *, states_first: bool) -> None:
        self.size, self.length = size, length
        self.place: dict[fx.Node, Outer | _AtStep] = {
            node: Outer(node.name) for node in graph.nodes if node.op == "placeholder"
        }
        calls = [node for node in graph.nodes if node.op == "call_function" and node.target not in _ASSERTIONS]
        self.nodes = _factories_first(calls, set(self.place)) if states_first else calls
        self.position = {node: index for index, node in enumerate(self.nodes)}
        self.outputs: tuple[Any, ...] = next(node for node in graph.nodes if node.op == "output").args[0]
        self.next = 0


def _factories_first(nodes: list[fx.Node], available: set[fx.Node]) -> list[fx.Node]:
    """Move what makes a first state to the front: a cell makes it within its first step.

    It moves what every step makes, too, which is why both orders are tried.
    """
    early = []
    for node in nodes:
        if str(node.target) in _FACTORIES and available.issuperset(node.all_input_nodes):
            early.append(node)
            available.add(node)
    return early + [node for node in nodes if node not in set(early)]


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of steps that is being tried: where it starts in each trace, operators per step, steps per trace."""

    starts: tuple[int, int]
    period: int
    counts: tuple[int, int]


class _Comparison:
    """Walks through two traces in step.

    Args:
        shorter: One trace.
        longer: Another, of more steps.
        shifts: How many steps a loop may have beside those of the dimension.
        equal_steps: Whether a loop's steps may all compute the same, as states do that are made for each layer.
    """

    def __init__(self, shorter: _Trace, longer: _Trace, shifts: tuple[int, ...], *, equal_steps: bool) -> None:
        self.traces, self.shifts, self.equal_steps = (shorter, longer), shifts, equal_steps
        self.items: list[Operation | Loop] = []
        self.delays: list[Operation] = []
        """Of the run that is being tried: operations that hand a result on to the step after the next."""
        self.reason: NoMatchError | None = None
        """Why the last operators that repeat are no loop."""

    def outline(self) -> Outline:
        while all(trace.next < len(trace.nodes) for trace in self.traces):
            if not any(self.take_loop(shift) for shift in self.shifts):
                self.take_operation()
        if any(trace.next < len(trace.nodes) for trace in self.traces):
            raise NoMatchError("its steps are not all alike: some operators do not repeat")
        outputs = tuple(self.describe([a], [b]) for a, b in zip(*(t.outputs for t in self.traces), strict=True))
        return Outline(tuple(self.items), outputs)

    def take_operation(self) -> None:
        nodes = [trace.nodes[trace.next] for trace in self.traces]
        if nodes[0].target is not nodes[1].target:
            what = f"with more of them, {nodes[1].target} stands in place of {nodes[0].target}"
            raise self.reason or NoMatchError(f"its steps are not all alike: {what}")
        self.items.append(self.operation([nodes[0]], [nodes[1]], None))
        for trace, node in zip(self.traces, nodes, strict=True):
            trace.place[node] = Outer(len(self.items) - 1)
            trace.next += 1

    def take_loop(self, shift: int) -> bool:
        """Take the shortest run that starts here and repeats as often as there are steps, plus `shift`."""
        starts = (self.traces[0].next, self.traces[1].next)
        counts = (self.traces[0].length + shift, self.traces[1].length + shift)
        for period in range(1, (len(self.traces[0].nodes) - starts[0]) // counts[0] + 1):
            run = _Run(starts, period, counts)
            if not all(self.repeats(which, run) for which in (0, 1)):
                continue
            self.delays = []
            try:
                body = tuple(self.operation(*self.columns(run, offset), run) for offset in range(period))
            except NoMatchError as exc:
                self.reason = exc
                continue
            loop = Loop(StepIndex(1, 0, shift), (*body, *self.delays))
            if loop.has_equal_steps() and not self.equal_steps:
                continue
            self.items.append(loop)
            self.mark(run)
            return True
        return False

    def repeats(self, which: int, run: _Run) -> bool:
        """Whether the operators of the run's first step come again at every step of a trace."""
        body = self.targets(0, run.starts[0], run.period)
        steps = run.counts[which]
        return self.targets(which, run.starts[which], run.period * steps) == body * steps

    def targets(self, which: int, start: int, count: int) -> list[Any]:
        return [node.target for node in self.traces[which].nodes[start : start + count]]

    def columns(self, run: _Run, offset: int) -> tuple[list[fx.Node], list[fx.Node]]:
        """The same operation in every step, in both traces."""
        first, second = (
            [trace.nodes[start + step * run.period + offset] for step in range(count)]
            for trace, start, count in zip(self.traces, run.starts, run.counts, strict=True)
        )
        return first, second

    def mark(self, run: _Run) -> None:
        for trace, start, count in zip(self.traces, run.starts, run.counts, strict=True):
            for index in range(run.period * count):
                step, offset = divmod(index, run.period)
                trace.place[trace.nodes[start + index]] = _AtStep(len(self.items) - 1, offset, step)
            trace.next = start + run.period * count

    def operation(self, first: list[fx.Node], second: list[fx.Node], run: _Run | None) -> Operation:
        args = self.describe([node.args for node in first], [node.args for node in second], run)
        names = sorted(first[0].kwargs)
        if any(sorted(node.kwargs) != names for node in first + second):
            raise NoMatchError(f"{first[0].target} has other options at other steps")
        kwargs = tuple(
            (name, self.describe([n.kwargs[name] for n in first], [n.kwargs[name] for n in second], run))
            for name in names
        )
        return Operation(first[0].target, args, kwargs)

    def describe(self, first: Sequence[Any], second: Sequence[Any], run: _Run | None = None) -> Any:
        """Describe one operand, given its value at every step of both traces."""
        values = [*first, *second]
        if all(isinstance(value, (list, tuple)) for value in values):
            return self.describe_lists(first, second, run)
        if all(isinstance(value, fx.Node) for value in values):
            return self.describe_nodes(first, second, run)
        if all(type(value) is int for value in values):
            return self.number(first, second)
        if all(type(value) is type(first[0]) and value == first[0] for value in values):
            return Constant(first[0])
        raise NoMatchError(f"an operand is {first[0]!r} and {second[-1]!r}")

    def describe_lists(self, first: Sequence[Any], second: Sequence[Any], run: _Run | None) -> Any:
        if run is None and (gathered := self.gathered(first[0], second[0])):
            return gathered
        if len({len(value) for value in [*first, *second]}) > 1:
            if run is None:
                return self.partly_gathered(first[0], second[0])
            raise NoMatchError("a list grows with the number of steps within a step")
        return tuple(
            self.describe([value[index] for value in first], [value[index] for value in second], run)
            for index in range(len(first[0]))
        )

    def partly_gathered(self, first: Sequence[Any], second: Sequence[Any]) -> tuple[Any, ...]:
        """A list that holds, between others, one result of a loop at all its steps."""
        for before in range(len(first)):
            for after in range(len(first) - before):
                parts = [items[before : len(items) - after] for items in (first, second)]
                if middle := self.gathered(*parts):
                    sides = [[*items[:before], *items[len(items) - after :]] for items in (first, second)]
                    others = [self.describe([a], [b]) for a, b in zip(*sides, strict=True)]
                    return (*others[:before], middle, *others[before:])
        raise NoMatchError("a list grows with the number of steps, but not by one result of a loop per step")

    def gathered(self, first: Sequence[Any], second: Sequence[Any]) -> Gathered | None:
        """Whether two lists hold one result of a loop at all its steps, in order or in reverse."""
        found = set()
        for trace, items in zip(self.traces, (first, second), strict=True):
            places = [trace.place.get(item) if isinstance(item, fx.Node) else None for item in items]
            steps = [place.step for place in places if isinstance(place, _AtStep)]
            sources = {(place.loop, place.offset) for place in places if isinstance(place, _AtStep)}
            if not places or len(steps) < len(places) or len(sources) != 1:
                return None
            position, offset = sources.pop()
            assert position is not None
            loop = self.items[position]
            assert isinstance(loop, Loop)
            forward = list(range(loop.count.at(trace.length)))
            if steps not in (forward, forward[::-1]):
                return None
            found.add(Gathered(position, offset, steps != forward))
        return found.pop() if len(found) == 1 else None

    def describe_nodes(self, first: Sequence[fx.Node], second: Sequence[fx.Node], run: _Run | None) -> Any:
        columns = [[self.locate(which, node, run) for node in nodes] for which, nodes in enumerate((first, second))]
        places = columns[0] + columns[1]
        if isinstance(places[0], Outer) and all(place == places[0] for place in places):
            return places[0]
        steps = [[place.step for place in column if isinstance(place, _AtStep)] for column in columns]
        loops = {(place.loop, place.offset) if isinstance(place, _AtStep) else (None, 0) for place in places}
        loop, made = loops.pop()
        if not loops and loop is not None:
            return Element(loop, made, self.affine(*steps))
        later = [place for column in columns for place in column[1:]]
        offsets = {place.offset for place in later if isinstance(place, _AtStep) and place.loop is None}
        if run is None or len(offsets) != 1:
            raise NoMatchError("an operand comes from another place at other steps")
        offset = offsets.pop()
        if all(place == _AtStep(None, offset, step) for column in columns for step, place in enumerate(column)):
            return Same(offset)
        if all(place == _AtStep(None, offset, step) for column in columns for step, place in enumerate(column[1:])):
            return Previous(offset, self.describe(first[:1], second[:1], None))
        for delay in range(2, len(columns[0])):
            late = (enumerate(column[delay:]) for column in columns)
            if all(place == _AtStep(None, offset, step) for column in late for step, place in column):
                before = [self.describe([first[step]], [second[step]], None) for step in range(delay)]
                return self.delayed(run, offset, before)
        raise NoMatchError("an operand comes from another step before at other steps")

    def delayed(self, run: _Run, offset: int, before: Sequence[Any]) -> Previous:
        """The result of an operation as many steps ago as there are values `before` the first, handed on by step."""
        *handed_on, initial = before[::-1]
        for value in handed_on:
            delay = Operation(aten.alias.default, (Previous(offset, value),), ())
            if delay not in self.delays:
                self.delays.append(delay)
            offset = run.period + self.delays.index(delay)
        return Previous(offset, initial)

    def locate(self, which: int, node: fx.Node, run: _Run | None) -> Outer | _AtStep:
        trace = self.traces[which]
        if run is not None:
            index = trace.position.get(node, -1) - run.starts[which]
            if 0 <= index < run.period * run.counts[which]:
                step, offset = divmod(index, run.period)
                return _AtStep(None, offset, step)
        if node not in trace.place:
            raise NoMatchError("an operand is computed later")
        return trace.place[node]

    def number(self, first: Sequence[int], second: Sequence[int]) -> StepIndex | SizeIndex:
        """A number that follows from the number of steps, or from the size of the dimension."""
        try:
            return self.affine(first, second)
        except NoMatchError:
            short, long = (trace.size for trace in self.traces)
            per_size, rest = divmod(second[0] - first[0], long - short)
            if rest or len({*first}) > 1 or len({*second}) > 1:
                raise
            return SizeIndex(per_size, first[0] - per_size * short)

    def affine(self, first: Sequence[int], second: Sequence[int]) -> StepIndex:
        short, long = (trace.length for trace in self.traces)
        per_step = first[1] - first[0] if len(first) > 1 else 0
        per_length, rest = divmod(second[0] - first[0], long - short)
        result = StepIndex(per_length, per_step, first[0] - per_length * short)
        fits = all(
            value == result.at(length, step)
            for values, length in ((first, short), (second, long))
            for step, value in enumerate(values)
        )
        if rest or not fits:
            raise NoMatchError(f"a number goes through {list(first)} and {list(second)}")
        return result
