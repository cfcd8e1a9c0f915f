"""Which choices a disagreement needs.

1. A minimal example is varied one choice at a time. A choice is needed when some other value makes the disagreement go
   away; the values with which it stays are part of the cause. A choice that can be anything is not.
2. A cause explains an example that makes all these choices, with the cause's nodes taken for some of its own, in order.
3. A cause may be too narrow: varying one choice at a time cannot see that either of two would do. What it does not
   explain is shrunk again and becomes a cause of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

from rnnexport.conformance.examples import (
    GRAPH_VALUES,
    NODE_VALUES,
    Example,
    Place,
    Value,
    choices,
    with_choice,
)
from rnnexport.conformance.judging import Outcome

Ask = Callable[[Example], Outcome]
Needs = dict[Place, frozenset[Value]]
_NO_FEATURE = {"data_seed"}  # numbers, not a property of the graph
_MOST_VALUES = {"crash": 1}  # tried of each choice: after a crash each costs the start of a process
_SPACE = {"batch": 3, "time": 2, "input_size": 2, "hidden_size": 8}


@dataclass(frozen=True, slots=True)
class Cause:
    """A disagreement's minimal example, and which of its choices matter."""

    example: Example
    outcome: Outcome
    needs: Needs

    def explains(self, example: Example) -> bool:
        """Whether an example makes all the choices that this cause needs."""
        if any(
            getattr(example, name) not in values for (where, name), values in self.needs.items() if where == "graph"
        ):
            return False
        positions = combinations(range(len(example.nodes)), len(self.example.nodes))
        return any(self._fits(example, nodes) for nodes in positions)

    def involves(self, name: str, value: Value) -> bool:
        """Whether this value of a choice has a part in it, so that the feature, not its company, is to blame.

        A choice with which the disagreement only does not go away has none, unless there is nothing else.
        """
        parts = {place for place, values in self.needs.items() if _is_part(place[1], values)}
        if len(parts) > 1:
            parts = {place for place in parts if place[1] != "op_type"}
        if not parts:
            return True
        return any(place[1] == name and value in self.needs[place] for place in parts)

    def _fits(self, example: Example, nodes: tuple[int, ...]) -> bool:
        return all(
            getattr(example.nodes[nodes[where]], name) in values
            for (where, name), values in self.needs.items()
            if where != "graph"
        )

    def __str__(self) -> str:
        """Like `GRU · direction reverse or bidirectional · linear_before_reset 0`."""
        several = len(self.example.nodes) > 1
        parts = [
            f"{f'node {int(where) + 1}: ' if several and where != 'graph' else ''}{describe(name, values)}"
            for (where, name), values in sorted(self.needs.items(), key=lambda item: _order(item[0]))
        ]
        return " · ".join(([f"{len(self.example.nodes)} nodes"] if several else []) + parts) or "anything"


def find_cause(example: Example, judge: Ask) -> Cause:
    """Vary a shrunk example one choice at a time, and keep what it needs.

    Numbers decide whether a wrong result shows, and hypothesis does not see through them: it is varied with space for
    enough of them, and simplified once more with several numbers each.
    """
    outcome = judge(example)
    spacious = with_space(example)
    base = spacious if judge(spacious).resembles(outcome) else example
    needs = {place: _staying(base, place, outcome, judge) for place in choices(base) if place[1] not in _NO_FEATURE}
    simplest = _simplified(base, outcome, judge)
    return Cause(
        simplest, judge(simplest), {place: values for place, values in needs.items() if values != _all_of(place)}
    )


def _staying(base: Example, place: Place, outcome: Outcome, judge: Ask) -> frozenset[Value]:
    """The values of a choice with which the disagreement stays; all of them where none makes it go away.

    Values about which nothing can be said go with the majority.
    """
    own = choices(base)[place]
    others = [value for value in _values(place[1]) if value != own][: _MOST_VALUES.get(outcome.kind)]
    ways = {value: _variation(base, place, value) for value in others}
    verdicts = {value: _stays(varied, outcome, judge) for value, varied in ways.items() if varied} | {own: True}
    going = [value for value, stays in verdicts.items() if stays is False]
    staying = [value for value, stays in verdicts.items() if stays]
    if len(going) > len(staying):
        return frozenset(staying)
    return _all_of(place) - frozenset(going)


def _all_of(place: Place) -> frozenset[Value]:
    return frozenset(_values(place[1]))


def with_space(example: Example) -> Example:
    """The example with room for whatever needs more than one row, step or number to show."""
    for (where, name), value in choices(example).items():
        if isinstance(value, int) and value < _SPACE.get(name, 0):
            example = with_choice(example, (where, name), _SPACE[name])
    return example


def with_any_numbers(example: Example, outcome: Outcome, judge: Ask) -> Example | None:
    """The example with numbers for which it has an outcome like this, its own if they will do."""
    return next((other for other in _with_other_numbers(example, outcome) if judge(other).resembles(outcome)), None)


def _with_other_numbers(example: Example, outcome: Outcome) -> list[Example]:
    """Wrong results may need numbers that reach some threshold; what a runtime refuses hardly ever depends on them."""
    others = [with_choice(example, ("graph", "data_seed"), seed) for seed in _values("data_seed")]
    return [example, *(others if outcome.kind == "wrong" else [])]


def _simplified(example: Example, outcome: Outcome, judge: Ask) -> Example:
    """With every choice at the simplest value with which the disagreement stays, if need be with other numbers."""
    for place in choices(example):
        simpler = _values(place[1])[: _values(place[1]).index(choices(example)[place])]
        found = (with_any_numbers(with_choice(example, place, value), outcome, judge) for value in simpler)
        example = next(filter(None, found), example)
    return example


def _variation(example: Example, place: Place, value: Value) -> Example | None:
    """The example with one choice changed; none where another one changes with it, so that it proves nothing.

    Another activation or operator may leave choices without effect; those say nothing that this one does not.
    """
    varied = with_choice(example, place, value)
    before, after = choices(example), choices(varied)
    changed = {other for other in before if before[other] != after[other]}
    if changed == {place}:
        return varied
    only_resets = all(after[other] == _values(other[1])[0] for other in changed - {place})
    return varied if place in changed and place[1] in ("op_type", "f", "g", "h") and only_resets else None


def _stays(varied: Example, outcome: Outcome, judge: Ask) -> bool | None:
    """Whether the disagreement stays; none where that cannot be seen, since something else comes first."""
    if with_any_numbers(varied, outcome, judge):
        return True
    kinds = {judge(other).kind for other in _with_other_numbers(varied, outcome)}
    return False if kinds <= ({"right"} if outcome.kind == "wrong" else {"right", "wrong"}) else None


def describe(name: str, values: Iterable[Value]) -> str:
    """Like `direction reverse or bidirectional`, `B given`, `LSTM`."""
    known = _values(name)
    ordered = sorted(values, key=known.index)
    if name == "op_type":
        return " or ".join(map(str, ordered))
    others = [value for value in known if value not in ordered]
    if len(others) < len(ordered):
        return f"{name} not {' or '.join(map(_word, others))}"
    return f"{name} {' or '.join(map(_word, ordered))}"


def _is_part(name: str, values: frozenset[Value]) -> bool:
    """Whether a cause needs something special here: not the simplest value, or that one alone."""
    return _values(name)[0] not in values or len(values) == 1


def _word(value: Value) -> str:
    if value is None:
        return "absent"
    return {True: "given", False: "absent"}[value] if isinstance(value, bool) else str(value)


def _values(name: str) -> tuple[Value, ...]:
    return NODE_VALUES.get(name) or GRAPH_VALUES[name]


def _order(place: Place) -> tuple[int, int]:
    """Nodes first, then what holds for the whole graph; in the order of the lists of values."""
    where, name = place
    return (99, list(GRAPH_VALUES).index(name)) if where == "graph" else (where, list(NODE_VALUES).index(name))
