"""Makes sure that every dynamic dimension of a traced module really is dynamic.

1. Dimensions with different names are independent; if the module makes two equal, they must share a name.
2. A condition in the module's code is tried the other way round: if forward then fails, it was a requirement; if
   forward works and gives what the trace gives, the branch makes no difference: what pads by nothing does not pad. Else
   the other branch is traced, and where neither is right on both sides, the module is refused: a graph holds one.
3. Every other condition is handed on with sizes that do not meet it: what judges the graph tries it there.
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
from torch.utils._sympy.printers import PythonPrinter

from rnnexport.capture.captured import Condition
from rnnexport.capture.failures import is_user_code, place_of, source_line
from rnnexport.capture.inputs import InputSpec, SizeRange
from rnnexport.errors import ExportError, InputError

_TRIED = (2, 3, 4, 5, 7, 11, 16, 33, 64, 99, 240, 1001, 1000000)
"""Sizes with which a condition is turned round."""
_LARGEST = 1500
"""Steps at which a trace is run on numbers at most."""
_TRACED = tuple(range(61, 90))
"""Sizes with which another branch is traced: large enough to be none of a parameter's by chance."""


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


class BranchError(ExportError):
    """Forward branches on a size."""

    def __init__(self, message: str, other: Mapping[str, int]) -> None:
        """Take the message and sizes at which forward takes the other branch."""
        super().__init__(message)
        self.other = other


def check_conditions(
    program: torch.export.ExportedProgram,
    dimensions: Mapping[str, str],
    ranges: Mapping[str, SizeRange],
    works_with: Callable[[dict[str, int]], bool],
    agrees_at: Callable[[dict[str, int]], bool],
) -> list[Condition]:
    """Sort the conditions that the trace took for granted into requirements and branches.

    Args:
        program: The trace.
        dimensions: The names of its size variables.
        ranges: The sizes that the module takes.
        works_with: Whether forward can be traced with the given sizes.
        agrees_at: Whether the trace gives there what forward gives.

    Returns:
        The conditions that some size of `ranges` does not meet.

    Raises:
        BranchError: Forward branches on a size; the message names the place.
    """
    found = []
    for guard in _conditions(program):
        printed = PythonPrinter().doprint(guard.expr)
        condition = re.sub(r"s\d+", lambda match: dimensions.get(match[0], match[0]), printed)
        frame = guard.sloc.framework_loc
        in_user_code = isinstance(frame, traceback.FrameSummary) and is_user_code(frame.filename)
        against = _counterexamples(guard.expr, dimensions, ranges)
        works = [sizes for sizes in against if in_user_code and works_with(sizes)]
        if works and not _agrees(guard.expr, dimensions, ranges, agrees_at):
            message = (
                f"{place_of(frame)}forward takes another branch unless {condition}, and a graph holds one branch: "
                f"{source_line(frame)!r}; compute what is cut or padded, like x[:, : t // 2 * 2], or state sizes that "
                "take one branch, like time%4==0"
            )
            raise BranchError(message, _large(guard.expr, dimensions, ranges) or works[0])
        text = condition if re.fullmatch(r"\w+ (<|<=|>|>=) \w+", condition) else ""
        named = sorted(dimensions[str(s)] for s in guard.expr.free_symbols if str(s) in dimensions)
        if against:
            found.append(Condition(text, tuple(named), tuple(against)))
    return found


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


def _counterexamples(
    condition: Any, dimensions: Mapping[str, str], ranges: Mapping[str, SizeRange]
) -> list[dict[str, int]]:
    """Sizes for which `condition` does not hold: the smallest that is found, and the largest."""
    found = [*_not_holding(condition, dimensions, ranges, _TRIED)]
    return [*found[:1], *found[1:][-1:]]


def _agrees(
    condition: Any,
    dimensions: Mapping[str, str],
    ranges: Mapping[str, SizeRange],
    agrees_at: Callable[[dict[str, int]], bool],
) -> bool:
    """Whether a trace is right at sizes of every magnitude for which `condition` does not hold."""
    small = [*_not_holding(condition, dimensions, ranges, [size for size in _TRIED if size <= _LARGEST])]
    return bool(small) and all(agrees_at(sizes) for sizes in [*small[:2], *small[2:][-2:]])


def _large(condition: Any, dimensions: Mapping[str, str], ranges: Mapping[str, SizeRange]) -> dict[str, int] | None:
    """Sizes to trace with for which `condition` does not hold."""
    return next(_not_holding(condition, dimensions, ranges, _TRACED), None)


def _not_holding(
    condition: Any, dimensions: Mapping[str, str], ranges: Mapping[str, SizeRange], tried: Sequence[int]
) -> Iterator[dict[str, int]]:
    symbols = sorted((s for s in condition.free_symbols if str(s) in dimensions), key=str)
    choices = [sorted({ranges[dimensions[str(s)]].at_least(size) for size in tried}) for s in symbols]
    for sizes in itertools.product(*choices):
        if condition.subs(dict(zip(symbols, sizes, strict=True))) == False:  # noqa: E712 # sympy's own false
            yield {dimensions[str(symbol)]: size for symbol, size in zip(symbols, sizes, strict=True)}


def _user_inputs(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    wanted = set(program.graph_signature.user_inputs)
    return [node for node in program.graph.nodes if node.op == "placeholder" and node.name in wanted]
