"""Runs torch.export over the user's module with symbolic sizes, and makes sure that none of them froze.

1. The module is traced in evaluation mode without touching its data: only shapes flow.
2. Each symbolic dimension gets one size variable; inputs that share its name share the variable.
3. A size that the module's code turned into a number, or on which it branches, is refused with the place.
4. The module is left as it was found, also after an error.
"""

from __future__ import annotations

import functools
import io
import itertools
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from rnnexport.capture.arguments import Arguments
from rnnexport.capture.branches import Branches
from rnnexport.capture.computed_weights import computed_attributes, computed_weights_kept
from rnnexport.capture.derived_sizes import DerivedSize
from rnnexport.capture.failures import (
    FrozenDimensionError,
    LoopError,
    place_of_call,
    place_of_guard,
    tracing_error,
)
from rnnexport.capture.inputs import InputSpec, SizeRange, symbolic_dimensions
from rnnexport.capture.integers import IntegerOfSizeError, integers_of_sizes
from rnnexport.capture.interception import recurrent_layers_caught
from rnnexport.capture.longest import Longest
from rnnexport.capture.outputs import named_outputs
from rnnexport.capture.packed import packing_caught
from rnnexport.capture.pieces import PiecesAsSlices
from rnnexport.capture.size_equations import unsolved_equations_left
from rnnexport.capture.substitutes import Substitutes
from rnnexport.capture.tensor_values import numbers_caught
from rnnexport.errors import ExportError, RnnexportError


class Entry(nn.Module):
    """The user's module with its inputs as a flat list, in the order of their specifications, and named outputs."""

    PREFIX = "module"
    """What parameter names and module paths begin with inside the trace."""

    def __init__(self, module: nn.Module, inputs: Sequence[InputSpec]) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs
        self.arguments = Arguments(module, inputs)
        self.seen = Seen()
        self.watch = SizeWatch()
        self.branches: Branches | None = None
        """While the module is traced: follows the branches of its forward."""

    def forward(self, *tensors: Tensor) -> dict[str, Tensor]:
        """Call the module; sizes that share a name become one variable."""
        sizes: dict[str, Any] = {}
        for spec, tensor in zip(self.inputs, tensors, strict=True):
            for dimension, size in zip(spec.shape, tensor.shape, strict=True):
                if isinstance(dimension, str):
                    torch._check(size == sizes.setdefault(dimension, size))  # type: ignore[no-untyped-call]
        self.watch.sizes = sizes
        return self.call(tensors)

    def call(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Call the module, along every branch of its forward."""
        if self.branches is None:
            return self.once(tensors)
        return self.branches.results(lambda: self.once(tensors))

    def once(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Call the module, and note the attributes that it sets."""
        before = _attributes(self.module)
        outputs = named_outputs(self.arguments.call(self.module, tensors))
        after = _attributes(self.module)
        changed = {name for name in after if after[name] is not before.get(name, _ABSENT)}
        self.seen.kept |= changed - computed_attributes(self.module)
        self.seen.left_out = outputs.left_out
        return outputs.tensors


class Seen:
    """What a trace showed beside the graph; torch.export would put an attribute of plain type back."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        """Attributes that forward set, for its next call or for others to read."""
        self.left_out: list[str] = []
        """Names of what forward returns beside tensors."""
        self.cuts: list[str] = []
        """Places that cut a dimension of any size into a fixed number of pieces."""
        self.unchecked: list[str] = []
        """Places of conditions on values that forward checks and the graph does not."""
        self.least: dict[str, int] = {}
        """The sizes below which a loop over a dimension has no step, which ONNX Runtime does not run."""


class SizeWatch:
    """Knows during a trace whether a symbolic size has become a number."""

    def __init__(self) -> None:
        self.sizes: dict[str, Any] = {}

    def refuse(self, size: torch.SymInt) -> None:
        """Say which dimension would freeze if `size`, which may follow from a dimension's, became a number.

        Raises:
            FrozenDimensionError: It follows from one dimension.
            ExportError: It follows from several.
        """
        symbols = size.node.expr.free_symbols
        named = {s.node.expr: dimension for dimension, s in self.sizes.items() if isinstance(s, torch.SymInt)}
        dimensions = sorted(named[symbol] for symbol in symbols if symbol in named)
        if len(dimensions) < len(symbols):  # some of it is no size
            return
        if len(dimensions) == 1:
            (symbol,) = symbols
            raise FrozenDimensionError(dimensions[0], place_of_call(), DerivedSize(symbol, size.node.expr))
        raise ExportError(
            f"forward turns a size that follows from dimensions {' and '.join(map(repr, dimensions))} "
            "into a number, so the graph would work for that one size; write nn.LSTM, nn.GRU or tensor operations"
        )

    def check(self) -> None:
        """Stop the trace early: a loop that unrolls would go on for many steps.

        Raises:
            FrozenDimensionError: A size is a number.
        """
        for dimension, size in self.sizes.items():
            if isinstance(size, torch.SymInt) and size.node.expr.is_number:
                raise FrozenDimensionError(dimension, place_of_guard(size))


def call_module(module: nn.Module, inputs: Sequence[InputSpec], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Call a module as a graph captured from it computes, and leave it as found; outputs in the graph's order."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with left_as_found(module), quiet(), _as_many_threads_as_help(module), torch.inference_mode():
        outputs = [output.detach() for output in Entry(module, inputs)(*tensors).values()]
        for buffer, found in buffers:  # forward may count its calls in one
            buffer.copy_(found)
    return outputs


_SMALL = 5_000_000
"""Parameters of a module whose threads would wait for each other longer than they compute."""


@contextmanager
def _as_many_threads_as_help(module: nn.Module) -> Iterator[None]:
    """Compute a small module on one thread."""
    found = torch.get_num_threads()
    if sum(parameter.numel() for parameter in module.parameters()) < _SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(found)


_ABSENT = object()


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What a module and its children hold beside parameters and buffers, by path."""
    return {
        f"{path}.{name}".removeprefix("."): value
        for path, child in module.named_modules()
        for name, value in child.__dict__.items()
        if not name.startswith("_")
    }


@dataclass(frozen=True, slots=True)
class Trace:
    """What torch.export saw."""

    program: torch.export.ExportedProgram
    seen: Seen


def trace(module: nn.Module, inputs: Sequence[InputSpec], sizes: dict[str, int]) -> Trace:
    """Trace `module` with one opaque operator per recurrent call.

    Args:
        module: The user's module.
        inputs: What its forward is given.
        sizes: A size for every symbolic dimension to trace with.

    Raises:
        InputError: The inputs do not fit the module's forward.
        ExportError: The forward depends on values or sizes in a way that a graph cannot hold.
    """
    entry = Entry(module, inputs)
    return Trace(export(entry, sizes), entry.seen)


def export(
    entry: Entry,
    sizes: dict[str, int],
    *,
    catch_cells: bool = True,
    symbolic_code: tuple[dict[str, Any], ...] = (),
    longest_is: str = "",
) -> torch.export.ExportedProgram:
    """Trace `entry`; see `trace`.

    Without `catch_cells`, cells stay PyTorch's own operators. In the code with the globals `symbolic_code`, the `int`
    of a symbolic size is one, too. The longest row is as long as the dimension `longest_is`, where one is given.
    """
    inputs = entry.inputs
    tensors = tuple(
        torch.empty([sizes[d] if isinstance(d, str) else d for d in spec.shape], dtype=getattr(torch, spec.dtype))
        for spec in inputs
    )
    dynamic = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, d in enumerate(spec.shape) if isinstance(d, str)} for spec in inputs
    )
    entry.branches = branches = Branches()
    longest = Longest((lambda: entry.watch.sizes[longest_is]) if longest_is else None)
    asked: dict[str, Any] | None = None
    failure: RnnexportError | None = None
    contexts: list[AbstractContextManager[Any]] = [
        torch.no_grad(),
        left_as_found(entry.module),
        inference_tensors_copied(entry.module),
        computed_weights_kept(entry.module),
        distributions_unchecked(),
        recurrent_layers_caught(entry.module, catch_cells=catch_cells),
        packing_caught(),
        numbers_caught(),
        unsolved_equations_left(),
        pieces := PiecesAsSlices(entry.watch.refuse),
        branches,
        integers_of_sizes(symbolic_code, entry.watch.refuse),
        Substitutes(entry.module, entry.watch.check, longest),
        quiet(),
    ]
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        try:
            program = torch.export.export(entry, tensors, dynamic_shapes=(dynamic,), strict=False)
        except LoopError:
            raise
        except IntegerOfSizeError as exc:
            asked = exc.code
        except Exception as exc:
            failure = tracing_error(exc, inputs, sizes)
            failure.__cause__ = exc
        finally:
            entry.branches = None
    again = functools.partial(export, entry, sizes, catch_cells=catch_cells)
    if asked is not None:
        return again(symbolic_code=(*symbolic_code, asked), longest_is=longest_is)
    if failure is not None:
        others = [d for d in symbolic_dimensions(inputs) if longest.asked and not longest_is and _is_time(d, inputs)]
        for dimension in others:
            try:
                return again(symbolic_code=symbolic_code, longest_is=dimension)
            except FrozenDimensionError:  # a loop over it, which may be one after all
                raise
            except RnnexportError:
                continue
        raise failure
    entry.seen.cuts, entry.seen.unchecked = pieces.places, list(dict.fromkeys(branches.unchecked))
    return program


def _is_time(dimension: str, inputs: Sequence[InputSpec]) -> bool:
    """Whether a dimension is no list of rows: no list of integers has it alone."""
    return not any(spec.shape == (dimension,) for spec in inputs)


def sample_sizes(module: nn.Module, inputs: Sequence[InputSpec], ranges: Mapping[str, SizeRange]) -> dict[str, int]:
    """Choose a size for every symbolic dimension.

    Multiples of 24 satisfy a module that halves or groups its steps; different ones, which are no size of a parameter
    or input, tell sizes apart.
    """
    taken = {size for tensor in module.state_dict().values() if isinstance(tensor, Tensor) for size in tensor.shape}
    taken |= {d for spec in inputs for d in spec.shape if isinstance(d, int)}
    sizes: dict[str, int] = {}
    for name in symbolic_dimensions(inputs):
        wanted = (ranges[name].at_least(24 * k) for k in itertools.count(2))
        sizes[name] = next(size for size in wanted if size not in taken and size >= 2 * ranges[name].minimum)
        taken.add(sizes[name])
    return sizes


@contextmanager
def left_as_found(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode, and afterwards put back every attribute that the module and its children had."""
    found = [(child, dict(child.__dict__)) for child in module.modules()]
    tables = [(table, dict(table)) for _, state in found for table in state.values() if type(table) is dict]
    lists = [(items, list(items)) for _, state in found for items in state.values() if type(items) is list]
    for child, _ in found:
        child.__dict__["training"] = False
    try:
        yield
    finally:
        for child, state in found:
            child.__dict__.clear()
            child.__dict__.update(state)
        for table, entries in tables:
            table.clear()
            table.update(entries)
        for items, entries_of_list in lists:
            items[:] = entries_of_list


@contextmanager
def inference_tensors_copied(module: nn.Module) -> Iterator[None]:
    """Replace what was made in inference mode, which nothing can be traced with; `left_as_found` puts it back."""
    copies: dict[Tensor, Tensor] = {}

    def copied(tensor: Tensor) -> Tensor:
        if tensor not in copies:
            copy = tensor.clone()
            copies[tensor] = nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
        return copies[tensor]

    tables: list[dict[str, Any]] = [t for child in module.modules() for t in (child._parameters, child._buffers)]
    for table in tables:
        for name, tensor in [*table.items()]:
            if tensor is not None and tensor.is_inference():
                table[name] = copied(tensor)
    yield


@contextmanager
def distributions_unchecked() -> Iterator[None]:
    """Keep distributions from looking at the values of their parameters, which a trace does not have."""
    found = Distribution._validate_args
    Distribution._validate_args = False
    try:
        yield
    finally:
        Distribution._validate_args = found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's warnings, log lines and printed graphs off the user's terminal; what matters is raised."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
