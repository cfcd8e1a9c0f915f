"""Finds the loops over time in a module that PyTorch could only trace step by step.

1. The module is traced at two numbers of steps. A loop is a run of operators that repeats once per step in both traces,
   with operands that are the same for all steps, come from the same or the previous step, or move by one per step.
2. What differs between the traces must be a number that grows with the number of steps. Anything else is no match.
3. The description of a third trace, of another number of steps, must be the same; else the loops are not trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from rnnexport.capture.failures import LoopError

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class StepIndex:
    """The integer `per_length * number of steps + per_step * this step + constant`."""

    per_length: int
    per_step: int
    constant: int

    def at(self, length: Any, step: int = 0) -> Any:
        """The value for a number of steps, which may be symbolic, at one of them."""
        number = self.per_step * step + self.constant
        return self.per_length * length + number if self.per_length else number


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is the same in every trace."""

    value: Any


@dataclass(frozen=True, slots=True)
class Outer:
    """A placeholder, by name, or the result of an operation outside all loops, by its position in the outline."""

    source: str | int


@dataclass(frozen=True, slots=True)
class Same:
    """The result of operation `offset` in the same step."""

    offset: int


@dataclass(frozen=True, slots=True)
class Previous:
    """The result of operation `offset` in the previous step, and before the first step `initial`."""

    offset: int
    initial: Any


@dataclass(frozen=True, slots=True)
class Element:
    """The result of operation `offset` of a finished loop at step `index`."""

    loop: int
    offset: int
    index: StepIndex


@dataclass(frozen=True, slots=True)
class Gathered:
    """The list of the results of operation `offset` at all steps of a finished loop."""

    loop: int
    offset: int
    reverse: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator; in `args` and `kwargs` the classes above stand for tensors and numbers."""

    target: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """Operations that repeat `count` times."""

    count: StepIndex
    body: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A module's computation for any number of steps."""

    items: tuple[Operation | Loop, ...]
    outputs: tuple[Any, ...]


class NoMatchError(LoopError):
    """Two traces do not follow one outline."""


def find_outline(graphs: Sequence[fx.Graph], lengths: Sequence[int]) -> Outline:
    """Describe three traces of one module, at three numbers of steps, as operations and loops.

    Raises:
        NoMatchError: There is no such description.
    """
    first: NoMatchError | None = None
    for shifts in SHIFTS:
        try:
            outline, other = (
                _Comparison((graphs[0], graphs[longer]), (lengths[0], lengths[longer]), shifts).outline()
                for longer in (1, 2)
            )
        except NoMatchError as exc:
            first = first or exc
            continue
        if outline == other:
            return outline
        first = first or NoMatchError("its steps differ from one number of steps to another")
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


class _Trace:
    """One trace: its operators in order, and where each stands in the outline found so far."""

    def __init__(self, graph: fx.Graph, length: int) -> None:
        self.length = length
        self.place: dict[fx.Node, tuple[Any, ...]] = {
            node: ("outer", node.name) for node in graph.nodes if node.op == "placeholder"
        }
        calls = [node for node in graph.nodes if node.op == "call_function" and node.target not in _ASSERTIONS]
        self.nodes = _factories_first(calls, set(self.place))
        self.position = {node: index for index, node in enumerate(self.nodes)}
        self.outputs: tuple[Any, ...] = next(node for node in graph.nodes if node.op == "output").args[0]
        self.next = 0


def _factories_first(nodes: list[fx.Node], available: set[fx.Node]) -> list[fx.Node]:
    """Move what makes a first state to the front: a cell makes it within its first step."""
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
    """Walks through two traces in step."""

    def __init__(self, graphs: tuple[fx.Graph, fx.Graph], lengths: tuple[int, int], shifts: tuple[int, ...]) -> None:
        self.traces = (_Trace(graphs[0], lengths[0]), _Trace(graphs[1], lengths[1]))
        self.shifts = shifts
        self.items: list[Operation | Loop] = []

    def outline(self) -> Outline:
        while all(trace.next < len(trace.nodes) for trace in self.traces):
            if not any(self.take_loop(shift) for shift in self.shifts):
                self.take_operation()
        if any(trace.next < len(trace.nodes) for trace in self.traces):
            raise NoMatchError("the longer trace has operators that do not repeat")
        outputs = tuple(self.describe([a], [b]) for a, b in zip(*(t.outputs for t in self.traces), strict=True))
        return Outline(tuple(self.items), outputs)

    def take_operation(self) -> None:
        nodes = [trace.nodes[trace.next] for trace in self.traces]
        if nodes[0].target is not nodes[1].target:
            raise NoMatchError(f"{nodes[0].target} stands where {nodes[1].target} stands with more steps")
        self.items.append(self.operation([nodes[0]], [nodes[1]], None))
        for trace, node in zip(self.traces, nodes, strict=True):
            trace.place[node] = ("outer", len(self.items) - 1)
            trace.next += 1

    def take_loop(self, shift: int) -> bool:
        """Take the shortest run that starts here and repeats as often as there are steps, plus `shift`."""
        starts = (self.traces[0].next, self.traces[1].next)
        counts = (self.traces[0].length + shift, self.traces[1].length + shift)
        for period in range(1, (len(self.traces[0].nodes) - starts[0]) // counts[0] + 1):
            run = _Run(starts, period, counts)
            if not all(self.repeats(which, run) for which in (0, 1)):
                continue
            try:
                body = tuple(self.operation(*self.columns(run, offset), run) for offset in range(period))
            except NoMatchError:
                continue
            self.items.append(Loop(StepIndex(1, 0, shift), body))
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
                trace.place[trace.nodes[start + index]] = ("loop", len(self.items) - 1, offset, step)
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
            return self.affine(first, second)
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
            places = [trace.place.get(item, ()) if isinstance(item, fx.Node) else () for item in items]
            if not places or any(place[:1] != ("loop",) or place[1:3] != places[0][1:3] for place in places):
                return None
            steps = [place[3] for place in places]
            loop = self.items[places[0][1]]
            assert isinstance(loop, Loop)
            forward = list(range(loop.count.at(trace.length)))
            if steps not in (forward, forward[::-1]):
                return None
            found.add((places[0][1], places[0][2], steps != forward))
        return Gathered(*found.pop()) if len(found) == 1 else None

    def describe_nodes(self, first: Sequence[fx.Node], second: Sequence[fx.Node], run: _Run | None) -> Any:
        columns = [[self.locate(which, node, run) for node in nodes] for which, nodes in enumerate((first, second))]
        places = columns[0] + columns[1]
        if all(place == places[0] and place[0] == "outer" for place in places):
            return Outer(places[0][1])
        if all(place[0] == "loop" and place[1:3] == places[0][1:3] for place in places):
            index = self.affine(*([place[3] for place in column] for column in columns))
            return Element(places[0][1], places[0][2], index)
        offsets = {place[1] for column in columns for place in column[1:] if place[0] == "here"}
        if run is None or len(offsets) != 1:
            raise NoMatchError("an operand comes from another place at other steps")
        offset = offsets.pop()
        if all(place == ("here", offset, step) for column in columns for step, place in enumerate(column)):
            return Same(offset)
        if all(place == ("here", offset, step) for column in columns for step, place in enumerate(column[1:])):
            return Previous(offset, self.describe(first[:1], second[:1], None))
        raise NoMatchError("an operand comes from a step before the previous one")

    def locate(self, which: int, node: fx.Node, run: _Run | None) -> tuple[Any, ...]:
        trace = self.traces[which]
        if run is not None:
            index = trace.position.get(node, -1) - run.starts[which]
            if 0 <= index < run.period * run.counts[which]:
                step, offset = divmod(index, run.period)
                return "here", offset, step
        if node not in trace.place:
            raise NoMatchError("an operand is computed later")
        return trace.place[node]

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
