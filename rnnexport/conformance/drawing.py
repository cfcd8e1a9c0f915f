"""Drawing and shrinking examples with hypothesis.

Examples are drawn in blocks with a seed each. Hypothesis shrinks only what it has just drawn, so to shrink an example
its block is drawn again, which costs little where the caller remembers what became of each example.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from rnnexport.conformance.examples import GRAPH_VALUES, NODE_VALUES, Example, Node, Value, normalized
from rnnexport.errors import InputError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Block = int
"""A block's seed."""
_MAX_NODES = 3
_BLOCK_SIZE = 100
# How often the simplest value is drawn. With many features at once, nothing would be left of what a runtime accepts.
_EVEN = {"op_type", "direction", "hidden_size", "B", "linear_before_reset", "batch", "time", "input_size"}
_USUAL_SHARE = 0.65
_SHARES = {"f": 0.85, "g": 0.85, "h": 0.85, "shapes": 0.4, "layout": 0.8}


def blocks(seed: int) -> Iterator[Block]:
    """An endless row of blocks."""
    random = Random(seed)
    while True:
        yield random.getrandbits(32)


def draw(block: Block) -> list[Example]:
    """The examples of a block, without repetition."""
    drawn: dict[Example, None] = {}
    _find(block, lambda example: drawn.setdefault(example), simplest=False)
    return list(drawn)


def shrink(block: Block, condition: Callable[[Example], bool]) -> Example | None:
    """The simplest example that meets `condition`, starting from the first of the block that does."""
    return _find(block, condition, simplest=True)


def import_hypothesis() -> Any:
    """Import the library that draws.

    Raises:
        InputError: It is not installed.
    """
    if "hypothesis" not in sys.modules:  # it would leave a folder where the user happens to stand
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir()) / "rnnexport-hypothesis"))
    try:
        import hypothesis
    except ImportError as exc:
        raise InputError('conformance needs hypothesis; run: pip install "rnnexport[conformance]"') from exc
    return hypothesis


def _find(block: Block, condition: Callable[[Example], object], *, simplest: bool) -> Example | None:
    hypothesis = import_hypothesis()
    phases = [hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if simplest else [])]
    settings = hypothesis.settings(
        max_examples=_BLOCK_SIZE, phases=phases, database=None, deadline=None, derandomize=False
    )
    try:
        found: Example = hypothesis.find(
            _examples(), lambda example: bool(condition(example)), settings=settings, random=Random(block)
        )
    except hypothesis.errors.NoSuchExample:
        return None
    return found


def _examples() -> SearchStrategy[Example]:
    from hypothesis import strategies

    nodes = strategies.builds(Node, **{name: _choice(name, values) for name, values in NODE_VALUES.items()})
    graph = {name: _choice(name, values) for name, values in GRAPH_VALUES.items()}
    # A list loses its last items first; of these places each can fall empty by itself.
    places = strategies.tuples(*[strategies.one_of(strategies.none(), nodes)] * _MAX_NODES)
    several = places.map(lambda drawn: tuple(filter(None, drawn)) or (Node(),))
    return strategies.builds(Example, nodes=several, **graph).map(normalized)


def _choice(name: str, values: tuple[Value, ...]) -> SearchStrategy[Value]:
    from hypothesis import strategies

    share = _SHARES.get(name, _USUAL_SHARE)
    others = len(values) - 1
    repetitions = 1 if name in _EVEN else round(share / (1 - share) * others)
    return strategies.sampled_from((values[0],) * repetitions + values[1:])
