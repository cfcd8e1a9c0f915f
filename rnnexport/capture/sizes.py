"""Makes sure that every dynamic dimension of a traced module really is dynamic.

1. Dimensions with different names are independent; if the module makes two equal, they must share a name.
2. A condition on a size that PyTorch's own operators need (a kernel no longer than its input) becomes a note.
3. A condition in the module's code is tried the other way round: if forward then fails, it was a requirement, and
   becomes a note; if forward works, it took another branch, which one graph cannot hold, and is refused.
"""

from __future__ import annotations

import itertools
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from rnnexport.capture.failures import is_user_code, place_of, source_line
from rnnexport.capture.inputs import InputSpec
from rnnexport.errors import ExportError, InputError

_TRIED = (2, 3, 4, 5, 7, 11, 16, 33, 64, 99, 240, 1001, 1000000)
"""Sizes with which a condition is turned round."""


def dimension_names(program: torch.export.ExportedProgram, inputs: Sequence[InputSpec]) -> dict[str, str]:
    """Return which size variable of the trace is which symbolic dimension: `{"s77": "batch"}`.

    Raises:
        InputError: Two names turned out to be one size.
    """
    names: dict[str, str] = {}
    for spec, placeholder in zip(inputs, _user_inputs(program), strict=True):
        for dimension, size in zip(spec.shape, placeholder.meta["val"].shape, strict=True):
            if isinstance(dimension, str) and re.fullmatch(r"s\d+", str(size)):
                other = names.setdefault(str(size), dimension)
                if other != dimension:
                    raise InputError(f"dimensions {other!r} and {dimension!r} must be equal; give them one name")
    return names


def check_conditions(
    program: torch.export.ExportedProgram,
    dimensions: Mapping[str, str],
    works_with: Callable[[dict[str, int]], bool],
) -> list[str]:
    """Sort the conditions that the trace took for granted into requirements and branches.

    Args:
        program: The trace.
        dimensions: The names of its size variables.
        works_with: Whether forward can be traced with the given sizes.

    Returns:
        A note for every requirement.

    Raises:
        ExportError: Forward branches on a size; the message names the place.
    """
    notes, reshaped = [], set()
    for guard in _conditions(program):
        condition = re.sub(r"s\d+", lambda match: dimensions.get(match[0], match[0]), str(guard.expr))
        frame = guard.sloc.framework_loc
        in_user_code = isinstance(frame, traceback.FrameSummary) and is_user_code(frame.filename)
        if in_user_code and any(works_with(sizes) for sizes in _counterexamples(guard.expr, dimensions)):
            raise ExportError(
                f"{place_of(frame)}forward takes another branch unless {condition}, and a graph holds one branch: "
                f"{source_line(frame)!r}"
            )
        if re.fullmatch(r"\w+ (<|<=|>|>=) \w+", condition):
            notes.append(f"the module works only where {condition}")
        else:  # the arithmetic of a reshape, which says nothing to a reader
            reshaped |= {dimensions[str(symbol)] for symbol in guard.expr.free_symbols if str(symbol) in dimensions}
    if reshaped:
        notes.append(f"the module fits only some sizes of {', '.join(sorted(reshaped))}, as it did in PyTorch")
    return list(dict.fromkeys(notes))


def _conditions(program: torch.export.ExportedProgram) -> Iterator[Any]:
    """The guards, without torch.export's assumption that no size is 0 or 1, and without those that `Entry` sets."""
    shapes = next(
        (
            size.node.shape_env
            for node in _user_inputs(program)
            for size in node.meta["val"].shape
            if not isinstance(size, int)
        ),
        ShapeEnv(),
    )
    return (
        guard
        for guard in shapes.guards
        if not re.fullmatch(r"Ne\([^%]*, [01]\)", str(guard.expr).replace("Mod(", "%"))
        and not _is_ours(guard.sloc.framework_loc)
    )


def _is_ours(frame: object) -> bool:
    return isinstance(frame, traceback.FrameSummary) and Path(frame.filename).parent == Path(__file__).parent


def _counterexamples(condition: Any, dimensions: Mapping[str, str]) -> Iterator[dict[str, int]]:
    """Sizes for which `condition` does not hold: the smallest that is found, and the largest."""
    symbols = sorted((s for s in condition.free_symbols if str(s) in dimensions), key=str)
    found = [
        {dimensions[str(symbol)]: size for symbol, size in zip(symbols, sizes, strict=True)}
        for sizes in itertools.product(_TRIED, repeat=len(symbols))
        if condition.subs(dict(zip(symbols, sizes, strict=True))) == False  # noqa: E712 # sympy's own false
    ]
    return iter([*found[:1], *found[1:][-1:]])


def _user_inputs(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    wanted = set(program.graph_signature.user_inputs)
    return [node for node in program.graph.nodes if node.op == "placeholder" and node.name in wanted]
