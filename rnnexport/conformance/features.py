"""The features that a table of conformance has rows for, and what became of the examples that have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rnnexport.conformance.causes import describe
from rnnexport.conformance.examples import ACTIVATIONS, GRAPH_VALUES, NODE_VALUES, Example, Node, Value
from rnnexport.conformance.judging import Kind
from rnnexport.conformance.results import FeatureRow
from rnnexport.conformance.search import CauseSearch

EVERYTHING = "all examples"
_ACTIVATIONS = ("f", "g", "h")
_NO_ROWS = {*_ACTIVATIONS, "hidden_size", "batch", "time", "input_size", "data_seed", "shapes"}
_SIMPLEST_TOO = {"op_type", "input", "direction", "linear_before_reset"}  # whose simplest value is a feature of its own
_LABELS = {
    ("input", "graph"): "several nodes read one input",
    ("input", "previous"): "a node reads the previous one",
    ("second_direction", "default activations"): "other activations in the reverse half",
    ("alpha_and_beta", "given"): "activation_alpha, activation_beta",
    ("clip", 0.4): "clip",
    ("outputs", "Y"): "only Y is read",
    ("outputs", "final"): "only the final states are read",
    ("threads", 0): "as many threads as the engine likes",
    ("threads", 2): "2 threads",
    ("initial_h", True): "initial_h",
    ("initial_c", True): "initial_c",
    ("P", True): "P (peepholes)",
    ("B", True): "B (biases)",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """One value of a choice; of an activation, in any of its places."""

    label: str
    names: tuple[str, ...]
    value: Value

    def is_in(self, example: Example) -> bool:
        """Whether some node, or the graph, makes this choice."""
        if self.names[0] in GRAPH_VALUES:
            return bool(getattr(example, self.names[0]) == self.value)
        having: int = sum(getattr(node, name) == self.value for node in example.nodes for name in self._names_of(node))
        return having > int(self.value == "graph")  # the first node always reads the graph's input

    def _names_of(self, node: Node) -> tuple[str, ...]:
        return () if self.names == ("linear_before_reset",) and node.op_type != "GRU" else self.names


def features() -> list[Feature]:
    """All features, in the order of the lists of values."""
    return [*_of_nodes(), *_of_graphs()]


def _of_nodes() -> Iterator[Feature]:
    for name, values in NODE_VALUES.items():
        if name == _ACTIVATIONS[0]:
            yield from (Feature(f"activation {each}", _ACTIVATIONS, each) for each in ACTIVATIONS)
        if name not in _NO_ROWS:
            yield from _of_values(name, values)


def _of_graphs() -> Iterator[Feature]:
    for name, values in GRAPH_VALUES.items():
        if name not in _NO_ROWS:
            yield from _of_values(name, values)


def _of_values(name: str, values: tuple[Value, ...]) -> Iterator[Feature]:
    for value in values if name in _SIMPLEST_TOO else values[1:]:
        yield Feature(_LABELS.get((name, value)) or describe(name, [value]).replace("_call", " call:"), (name,), value)


def feature_rows(search: CauseSearch) -> list[FeatureRow]:
    """Two rows for each feature, for static and for dynamic shapes, and two for all examples."""
    return [
        FeatureRow(feature=label, shapes=shapes, counts=_counts(search, shapes, feature))
        for label, feature in [(EVERYTHING, None), *((feature.label, feature) for feature in features())]
        for shapes in ("static", "dynamic")
    ]


def _counts(search: CauseSearch, shapes: str, feature: Feature | None) -> Counter[Kind]:
    return Counter(
        outcome.kind
        for example, outcome in search.outcomes.items()
        if (example.shapes == "static") == (shapes == "static")
        and (feature is None or (feature.is_in(example) and _says_something(search, example, feature)))
    )


def _says_something(search: CauseSearch, example: Example, feature: Feature) -> bool:
    """Whether the example is right, or not right because of this feature."""
    outcome = search.outcomes[example]
    if outcome.kind == "right":
        return True
    cause = search.cause_of(example, outcome)
    return cause is None or any(cause.involves(name, feature.value) for name in feature.names)
