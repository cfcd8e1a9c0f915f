"""Turns what torch.export and the ONNX exporter raise into one line that names the place in the user's code."""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv

from rnnexport.capture.derived_sizes import ITSELF, DerivedSize
from rnnexport.capture.inputs import InputSpec
from rnnexport.errors import ExportError, RnnexportError

_PYTHON = Path(traceback.__file__).parent
_TORCH = Path(torch.__file__).parent
_HERE = Path(__file__).parent
_PACKAGE = _HERE.parent
DECODERS = "A decoder that is fed its own output is exported by its step: give `decoder_step`"
"""What is said of a forward that may be such a decoder's whole loop."""


class FrozenDimensionError(ExportError):
    """The module's code turned a dynamic size into a number."""

    def __init__(self, dimension: str, place: str = "", derived: DerivedSize = ITSELF) -> None:
        """Name the dimension, the place as `file:line: `, and the number as it follows from the dimension's size."""
        super().__init__(
            f"{place}forward turns dimension {dimension!r} into a number, so the graph would work for that one size; "
            f"write nn.LSTM, nn.GRU or tensor operations for a loop, or give {dimension!r} a fixed size"
        )
        self.dimension, self.place, self.derived = dimension, place, derived


class LoopError(Exception):
    """A loop over a dimension cannot be written for any size; the message says why."""


def tracing_error(exc: Exception, inputs: Sequence[InputSpec], sizes: Mapping[str, int]) -> RnnexportError:
    """Say in one line why the module could not be traced."""
    place = place_of_failure(exc)
    if isinstance(exc, FrozenDimensionError):
        return FrozenDimensionError(exc.dimension, exc.place or place, exc.derived)
    if isinstance(exc, RnnexportError):
        return type(exc)(f"{place}{exc}")
    if isinstance(exc, GuardOnDataDependentSymNode):
        return values_error(place)
    if frozen := _frozen_dimension(exc, sizes):
        return FrozenDimensionError(*frozen)
    given = ", ".join(f"{spec.name}:{spec.dtype}[{','.join(map(str, spec.shape))}]" for spec in inputs)
    return ExportError(f"{place}forward fails with {given}: {_first_line(exc)}")


def values_error(place: str) -> ExportError:
    """Say that forward does, at `place`, what no graph can hold for all values."""
    return ExportError(
        f"{place}forward depends on the values of its inputs here, and a graph computes the same steps for all "
        "values; torch.where chooses by value, and a mask like torch.arange(x.shape[1]) < lengths[:, None] cuts rows. "
        f"{DECODERS}"
    )


def translation_error(exc: Exception, program: torch.export.ExportedProgram) -> ExportError:
    """Say in one line which operator has no ONNX form, and where the module uses it."""
    reason = _first_line(list(_chain(exc))[-1])
    if match := re.search(r"OpOverload\(op='([\w.]+)'", reason):
        stem = match[1].rpartition(".")[2].strip("_")  # what the user called may have been decomposed into it
        users = [node for node in program.graph.nodes if stem in str(node.target)]
        place = _place_in_stack(users[0].meta.get("stack_trace") or "") if users else ""
        return ExportError(f"{place}operator {match[1]} has no ONNX form; write it with other operators")
    return ExportError(f"the module cannot be written as ONNX: {reason}")


def _place_in_stack(stack: str) -> str:
    """The innermost place in the user's code of a stack trace given as text."""
    places = [match for match in re.findall(r'File "([^"]+)", line (\d+)', stack) if is_user_code(match[0])]
    return f"{places[-1][0]}:{places[-1][1]}: " if places else ""


def place_of(frame: traceback.FrameSummary | None) -> str:
    """`file:line: ` of a frame in the user's code, or nothing."""
    return f"{frame.filename}:{frame.lineno}: " if frame is not None and is_user_code(frame.filename) else ""


def place_of_guard(size: torch.SymInt) -> str:
    """`file:line: ` of where a symbolic size became a number, or nothing."""
    became = f"Eq({size.node._expr}, {size.node.expr})"
    frames = [guard.sloc.framework_loc for guard in size.node.shape_env.guards if str(guard.expr) == became]
    return place_of(frames[0]) if frames and isinstance(frames[0], traceback.FrameSummary) else ""


def place_of_call() -> str:
    """`file:line: ` of the innermost frame of the user's module that is running now, or nothing."""
    frame = users_frame()
    if frame is None:
        return ""
    outwards = (Path(outer.f_code.co_filename).parent for outer, _ in traceback.walk_stack(frame))
    is_traced = _HERE in outwards  # and did not call `capture`
    return f"{frame.f_code.co_filename}:{frame.f_lineno}: " if is_traced else ""


def users_frame() -> FrameType | None:
    """The innermost running frame of the user's code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_user_code(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def source_line(frame: traceback.FrameSummary) -> str:
    """Return the source text of a frame's line."""
    return linecache.getline(frame.filename, frame.lineno or 0).strip()


def is_user_code(filename: str) -> bool:
    """Whether a file is neither Python's own, nor PyTorch's, nor of this package."""
    parents = Path(filename).parents
    is_pythons = _PYTHON in parents and not {"site-packages", "dist-packages"} & {parent.name for parent in parents}
    return not (filename.startswith("<") or is_pythons or _TORCH in parents or _PACKAGE in parents)


def place_of_failure(exc: BaseException) -> str:
    """The innermost frame of the user's module; the frames that called `capture` do not count."""
    frames = traceback.extract_tb(exc.__traceback__)
    inside = [frame for frame in frames if is_user_code(frame.filename)]
    return place_of(inside[-1]) if inside else ""


def _frozen_dimension(exc: BaseException, sizes: Mapping[str, int]) -> tuple[str, str] | None:
    """The dimension whose size variable was set to a number, and where that happened."""
    names = {size: name for name, size in sizes.items()}
    for guard in (guard for shapes in _shape_environments(exc) for guard in shapes.guards):
        match = re.fullmatch(r"Eq\(s\d+, (\d+)\)", str(guard.expr))
        if match and int(match[1]) in names:
            frame = guard.sloc.framework_loc
            return names[int(match[1])], place_of(frame if isinstance(frame, traceback.FrameSummary) else None)
    for shapes in _shape_environments(exc):
        numbers = {int(size) for size in shapes.replacements.values() if size.is_number}
        if found := next((name for size, name in names.items() if size in numbers), None):
            return found, place_of_failure(exc)
    return None


def _shape_environments(exc: BaseException) -> Iterator[ShapeEnv]:
    """The shape environment of a failed trace: torch.export gives it to nobody, but it stands in the traceback."""
    for error in _chain(exc):
        for frame, _ in traceback.walk_tb(error.__traceback__):
            owner = frame.f_locals.get("self")
            if isinstance(owner, ShapeEnv):
                yield owner


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__
