"""What is drawn: a small graph of recurrent nodes and the calls that run it, every choice from a short list.

1. Each field has a finite list of values in `NODE_VALUES` or `GRAPH_VALUES`; the first is the simplest. Drawing,
   shrinking, varying one choice at a time and the rows of the table all come from these lists, so a new feature of the
   operators is one field and one line.
2. `normalized` sets every choice that has no effect to its simplest value, so that no feature is held responsible for
   what happens where it does nothing, and equal graphs are equal examples.
3. Numbers are not drawn: arrays come from `data_seed` and their name alone (see `arrays.py`), so that changing one
   choice leaves all other numbers as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Value = str | int | float | bool | None
_DEFAULT = "default"
_WITHOUT_ALPHA = ("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus")
_WITH_ALPHA = ("HardSigmoid", "LeakyRelu", "Elu", "ThresholdedRelu", "Affine", "ScaledTanh")
ACTIVATIONS = (*_WITHOUT_ALPHA, *_WITH_ALPHA)
_NEED_ALPHA = {"Affine", "ScaledTanh"}  # no ONNX operator of that name gives them a default
TAKE_BETA = {"Affine", "ScaledTanh", "HardSigmoid"}
TAKE_ALPHA = frozenset(_WITH_ALPHA)
DEFAULT_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}


@dataclass(frozen=True, slots=True)
class Node:
    """One LSTM or GRU node. Field names are those of the operator, so that a finding reads like the specification."""

    op_type: str = "LSTM"
    input: str = "graph"
    """`graph`, or `previous`: Y of the node before, directions side by side."""
    direction: str = "forward"
    hidden_size: int = 1
    B: bool = False
    sequence_lens: str = "absent"
    """`full`: every length is the number of time steps; `shorter`: some are less; `zero`: one row has no step."""
    initial_h: bool = False
    initial_c: bool = False
    P: bool = False
    clip: float | None = None
    input_forget: int = 0
    linear_before_reset: int = 0
    f: str = _DEFAULT
    g: str = _DEFAULT
    h: str = _DEFAULT
    second_direction: str = "same activations"
    """Of a bidirectional node: the activations of its reverse half."""
    alpha_and_beta: str = _DEFAULT
    """Whether `activation_alpha` and `activation_beta` are given."""
    layout: int = 0
    outputs: str = "all"
    """Which outputs the node has: `all`, `Y`, or `final`, the states after the last step."""

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.direction == "bidirectional" else 1

    @property
    def activations(self) -> tuple[str, ...]:
        """The attribute `activations`, empty where every one is left to its default."""
        default = DEFAULT_ACTIVATIONS[self.op_type]
        chosen = (self.f, self.g, self.h)[: len(default)]
        if set(chosen) == {_DEFAULT}:
            return ()
        first = tuple(name if name != _DEFAULT else usual for name, usual in zip(chosen, default, strict=True))
        second = first if self.second_direction == "same activations" else default
        return first if self.directions == 1 else first + second


@dataclass(frozen=True, slots=True)
class Example:
    """A graph, the calls of one session of it, and how many threads compute them."""

    nodes: tuple[Node, ...] = (Node(),)
    shapes: str = "static"
    """Which dimensions of the graph's inputs have no fixed size: `static` none, `dynamic` batch and time."""
    batch: int = 1
    time: int = 1
    input_size: int = 1
    second_call: str = "none"
    """What the session is asked after the first call: `same shape` with other numbers, or another shape."""
    threads: int = 1
    """0 leaves it to the engine."""
    opset: int = 22
    data_seed: int = 0

    def calls(self) -> tuple[tuple[int, int], ...]:
        """Batch and time of each call."""
        first = (self.batch, self.time)
        other = {
            "none": (),
            "same shape": (first,),
            "other batch": ((self.batch + 2, self.time),),
            "other time": ((self.batch, self.time + 3),),
            "shorter time": ((self.batch, max(1, self.time - 1)),),
            "other batch and time": ((self.batch + 1, self.time + 2),),
        }
        return (first, *other[self.second_call])


NODE_VALUES: Mapping[str, tuple[Value, ...]] = {
    "op_type": ("LSTM", "GRU"),
    "input": ("graph", "previous"),
    "direction": ("forward", "reverse", "bidirectional"),
    "hidden_size": (1, 2, 3, 8, 17),
    "B": (False, True),
    "sequence_lens": ("absent", "full", "shorter", "zero"),
    "initial_h": (False, True),
    "initial_c": (False, True),
    "P": (False, True),
    "clip": (None, 0.4),
    "input_forget": (0, 1),
    "linear_before_reset": (0, 1),
    "f": (_DEFAULT, *ACTIVATIONS),
    "g": (_DEFAULT, *ACTIVATIONS),
    "h": (_DEFAULT, *ACTIVATIONS),
    "second_direction": ("same activations", "default activations"),
    "alpha_and_beta": (_DEFAULT, "given"),
    "layout": (0, 1),
    "outputs": ("all", "Y", "final"),
}
GRAPH_VALUES: Mapping[str, tuple[Value, ...]] = {
    "shapes": ("static", "dynamic", "dynamic batch", "dynamic time"),
    "batch": (1, 2, 3, 6),
    "time": (1, 2, 3, 7),
    "input_size": (1, 2, 5, 17),
    "second_call": ("none", "same shape", "other batch", "other time", "shorter time", "other batch and time"),
    "threads": (1, 2, 0),
    "opset": (22, 14, 7),
    "data_seed": (0, 1, 2),
}
_ONE_OP_ONLY = {"initial_c": "LSTM", "P": "LSTM", "input_forget": "LSTM", "h": "LSTM", "linear_before_reset": "GRU"}


def normalized(example: Example) -> Example:
    """The same graph and calls, with every choice that has no effect at its simplest value."""
    changes: dict[str, Any] = {}
    second = example.second_call
    batch_is_free = example.shapes in ("dynamic", "dynamic batch")
    time_is_free = example.shapes in ("dynamic", "dynamic time")
    needs_batch, needs_time = "batch" in second, "time" in second
    if (needs_batch and not batch_is_free) or (needs_time and not time_is_free):
        changes["second_call"] = second = "same shape"
    if second == "shorter time" and example.time == 1:
        changes["second_call"] = "same shape"
    nodes = tuple(_normalized_node(node, example, first=i == 0) for i, node in enumerate(example.nodes))
    return replace(example, nodes=nodes, **changes)


def _normalized_node(node: Node, example: Example, *, first: bool) -> Node:
    changes: dict[str, Any] = {
        name: NODE_VALUES[name][0] for name, op_type in _ONE_OP_ONLY.items() if node.op_type != op_type
    }
    if first:
        changes["input"] = "graph"
    if example.time == 1 and node.sequence_lens == "shorter":
        changes["sequence_lens"] = "full"
    if example.opset < 14:
        changes["layout"] = 0
    node = replace(node, **changes)
    if node.directions == 1 or not node.activations:
        node = replace(node, second_direction="same activations")
    used = set(node.activations)
    if not used & TAKE_ALPHA:
        return replace(node, alpha_and_beta=_DEFAULT)
    return replace(node, alpha_and_beta="given") if used & _NEED_ALPHA else node


Place = tuple[Literal["graph"] | int, str]
"""Where a choice stands: `("graph", field)` or `(index of the node, field)`."""


def choices(example: Example) -> dict[Place, Value]:
    """Every choice of an example."""
    graph: dict[Place, Value] = {("graph", name): getattr(example, name) for name in GRAPH_VALUES}
    return graph | {(i, name): getattr(node, name) for i, node in enumerate(example.nodes) for name in NODE_VALUES}


def complexity(example: Example) -> int:
    """How many choices are not the simplest, after the number of nodes."""
    all_values = {**NODE_VALUES, **GRAPH_VALUES}
    differing = sum(value != all_values[name][0] for (_, name), value in choices(example).items())
    return len(example.nodes) * 1000 + differing


def with_choice(example: Example, place: Place, value: Value) -> Example:
    """The normalized example with one choice changed."""
    where, name = place
    change: dict[str, Any] = {name: value}
    if where == "graph":
        return normalized(replace(example, **change))
    nodes = list(example.nodes)
    nodes[where] = replace(nodes[where], **change)
    return normalized(replace(example, nodes=tuple(nodes)))
