"""Writes loops over time, which PyTorch unrolls, for any number of steps.

1. The module is traced with its loop unrolled at three numbers of steps; `loops.find_outline` must give the same
   outline for two pairs of them.
2. The outline is traced in place of the module, with the number of steps symbolic.
3. Before that it is run on random numbers, at one step and at several, and must give what the module gives.
4. What cannot be written this way is refused with the place of the loop and the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_unflatten

from rnnexport.capture.derived_sizes import DerivedSize
from rnnexport.capture.failures import DECODERS, FrozenDimensionError, LoopError
from rnnexport.capture.functional import without_in_place
from rnnexport.capture.inputs import InputSpec, SizeRange
from rnnexport.capture.interception import OPAQUE, computed, opaque_layer
from rnnexport.capture.loops import find_outline
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
    SizeIndex,
    StepIndex,
)
from rnnexport.capture.tracing import Entry, Trace, export, left_as_found
from rnnexport.capture.vectorized import NotVectorizableError, Unbound, VectorizedLoop
from rnnexport.errors import ExportError, RnnexportError

aten = torch.ops.aten
_FEWEST_STEPS = 4
"""The smallest of the numbers of steps at which loops are unrolled, where the module takes so few."""
_MOST_STEPS = 20
"""A module that needs more is not unrolled."""
_LAYERS = {"GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}
_TRIED = (1, 2, 5, 23, 150)
"""Numbers of steps at which an outline is compared with its module."""


def trace_with_loops(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    sizes: dict[str, int],
    frozen: FrozenDimensionError,
    taken: SizeRange,
) -> Trace:
    """Trace a module that loops over the dimension that froze, of which it takes the sizes `taken`.

    Raises:
        ExportError: The loop cannot be written for any number of steps.
    """
    unrolled = _sizes_to_unroll(frozen.derived, taken)
    fewest, more, most = (frozen.derived.at(size) for size in unrolled)
    if not fewest < more < most <= _MOST_STEPS:  # min(T, 5) steps do not grow with T
        raise frozen
    try:
        entry = _outline_entry(module, inputs, sizes, frozen, unrolled)
        entry.compare_with_module()
        return Trace(export(entry, sizes), entry.seen)
    except LoopError as exc:
        raise ExportError(
            f"{frozen.place}forward loops over dimension {frozen.dimension!r} or needs its size as a number, and that "
            f"cannot be written for any size: {exc}; use nn.LSTM, nn.GRU or tensor operations. {DECODERS}"
        ) from exc


def _sizes_to_unroll(derived: DerivedSize, taken: SizeRange) -> list[int]:
    """Three sizes of a dimension whose numbers of steps differ by 2 and by 1, or as little as the module takes.

    Where several sizes give one number of steps, it is one that no multiple of the steps can be taken for.
    """
    first = taken.at_least(derived.smallest(_FEWEST_STEPS))
    found = [first]
    for more in (2, 1):
        steps = derived.at(found[-1]) + more
        smallest = taken.at_least(derived.smallest(steps))
        as_many = range(smallest, derived.smallest(derived.at(smallest) + 1), taken.step)
        apart = (size for size in as_many if (size - first) % (derived.at(size) - derived.at(first)))
        found.append(next(apart, smallest))
    return found


def _outline_entry(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    sizes: dict[str, int],
    frozen: FrozenDimensionError,
    unrolled_sizes: Sequence[int],
) -> OutlineEntry:
    dimension, derived = frozen.dimension, frozen.derived
    programs = []
    for size in unrolled_sizes:
        fixed = _with_size(inputs, dimension, size)
        unrolled = Entry(module, fixed)
        try:
            programs.append(export(unrolled, sizes, catch_cells=False))
        except FrozenDimensionError as exc:
            both = _with_size(fixed, exc.dimension, size)
            export(Entry(module, both), sizes, catch_cells=False)  # where values decide, that is the reason to tell
            raise ExportError(
                f"{exc.place}forward loops over dimension {exc.dimension!r}, or needs its size as a number, beside a "
                f"loop over {dimension!r}; write one of them as nn.LSTM, nn.GRU or tensor operations. {DECODERS}"
            ) from exc
        without_in_place(programs[-1].graph)
    graphs = [program.graph for program in programs]
    outline = find_outline(graphs, unrolled_sizes, [derived.at(size) for size in unrolled_sizes])
    entry = OutlineEntry(module, inputs, outline, programs[0], frozen)
    entry.seen = unrolled.seen
    loops = (item for item in outline.items if isinstance(item, Loop))
    fewest = max((1 - loop.count.constant for loop in loops), default=1)
    entry.seen.least[dimension] = derived.smallest(fewest)
    return entry


def _with_size(inputs: Sequence[InputSpec], dimension: str, size: int) -> list[InputSpec]:
    return [
        dataclasses.replace(spec, shape=tuple(size if d == dimension else d for d in spec.shape)) for spec in inputs
    ]


class OutlineEntry(Entry):
    """Computes an outline in place of the module that it was found in."""

    def __init__(
        self,
        module: nn.Module,
        inputs: Sequence[InputSpec],
        outline: Outline,
        program: torch.export.ExportedProgram,
        frozen: FrozenDimensionError,
    ) -> None:
        super().__init__(module, inputs)
        self.outline, self.program = _Hidden(outline), _Hidden(program)
        self.dimension, self.derived = frozen.dimension, frozen.derived
        self.is_real = False

    def call(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Run the outline."""
        spec = self.program.value.call_spec.out_spec
        outputs: dict[str, Tensor] = tree_unflatten(list(_OutlineRun(self, tensors).outputs()), spec)
        return outputs

    def compare_with_module(self) -> None:
        """Run outline and module on random numbers.

        Raises:
            NoMatchError: They differ.
        """
        original = Entry(self.module, self.inputs)
        with left_as_found(self.module), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            for size in self.tried_sizes():
                tensors = [_random(spec, {self.dimension: size}) for spec in self.inputs]
                try:
                    expected = original(*tensors)
                except Exception:  # the module itself has no answer at this size
                    continue
                self.is_real = True
                actual = self._on_numbers(tensors, size)
                self.is_real = False
                for name, e in expected.items():
                    a = actual[name]
                    if not (a.shape == e.shape and torch.allclose(a, e, 1e-3, 1e-4)):
                        raise NoMatchError(f"at {self.dimension}={size} it gives another result than its unrolled form")

    def tried_sizes(self) -> list[int]:
        """Sizes at which the outline is compared with the module: the smallest and the largest of each length."""
        least = self.seen.least[self.dimension]
        ends = {self.derived.smallest(length + more) - more for length in _TRIED for more in (0, 1)}
        return sorted(size for size in ends if size >= least)

    def _on_numbers(self, tensors: Sequence[Tensor], size: int) -> dict[str, Tensor]:
        try:
            return self(*tensors)  # type: ignore[no-any-return]
        except (LoopError, RnnexportError):
            raise
        except Exception as exc:  # operators refuse what does not fit them
            reason = (str(exc).strip().splitlines() or [""])[0]
            raise NoMatchError(f"at {self.dimension}={size} its steps do not fit together: {reason}") from exc


class _Hidden:
    """Keeps torch.export from looking into a value."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _random(spec: InputSpec, sizes: dict[str, int]) -> Tensor:
    shape = [sizes.get(d, 3) if isinstance(d, str) else d for d in spec.shape]
    dtype = getattr(torch, spec.dtype)
    return torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.ones(shape, dtype=dtype)


class _OutlineRun:
    """One run through an outline."""

    def __init__(self, entry: OutlineEntry, tensors: Sequence[Tensor]) -> None:
        self.entry, self.outline = entry, entry.outline.value
        self.size = next(
            tensor.shape[spec.shape.index(entry.dimension)]
            for spec, tensor in zip(entry.inputs, tensors, strict=True)
            if entry.dimension in spec.shape
        )
        self.length = entry.derived.at(self.size)
        self.results: dict[int, Any] = {}
        self.placeholders = _placeholders(entry, tensors)
        for position, item in enumerate(self.outline.items):
            self.results[position] = self.loop(item, position) if isinstance(item, Loop) else self.operation(item)

    def outputs(self) -> Any:
        return (self.resolve(output) for output in self.outline.outputs)

    def loop(self, loop: Loop, position: int) -> VectorizedLoop:
        done = VectorizedLoop(
            loop,
            self.length,
            self.resolve,
            self.run_cell,
            read_outside=_read_of(self.outline, position),
            is_real=self.entry.is_real,
        )
        for source, tensor in done.writes.items():
            assert isinstance(source, int)
            self.results[source] = tensor
        return done

    def operation(self, operation: Operation) -> Any:
        args = [self.resolve(argument) for argument in operation.args]
        if operation.target is aten.unbind.int:
            return Unbound(args[0].movedim(args[1] if len(args) > 1 else 0, 0))
        if args and (isinstance(args[0], _Steps) or (isinstance(args[0], list) and _has_steps(args[0]))):
            return _joined(args[0], operation.target, args[1] if len(args) > 1 else 0)
        if args and isinstance(args[0], Unbound):
            return args[0].tensor.select(0, args[1])
        kwargs = {name: self.resolve(argument) for name, argument in operation.kwargs}
        if operation.target is OPAQUE and self.entry.is_real:
            return computed(args[0], args[1], kwargs)
        return operation.target(*args, **kwargs)

    def resolve(self, reference: Any) -> Any:
        """The value of an operand outside all loops."""
        match reference:
            case Constant(value):
                return value
            case StepIndex():
                return reference.at(self.length)
            case SizeIndex():
                return reference.at(self.size)
            case Outer(source):
                return self.placeholders[source] if isinstance(source, str) else self.results[source]
            case Element(loop, offset, index):
                return self.results[loop].element(offset, index)
            case Gathered(loop, offset, reverse):
                steps = self.results[loop].steps(offset)
                return _Steps(steps.flip(0) if reverse else steps)
            case tuple():
                return [self.resolve(item) for item in reference]
        raise AssertionError(reference)

    def run_cell(
        self, kind: str, weight: Any, x: Tensor, states: list[Tensor], weights: list[Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        """Run a cell over all steps: as a fused layer, or, to compare, in PyTorch."""
        given = [weight for weight in weights if weight is not None]
        first = [state.unsqueeze(0) for state in states]
        if self.entry.is_real:
            options = (given, len(given) > 2, 1, 0.0, False, False, False)
            y, *final = torch.lstm(x, first, *options) if kind == "LSTM" else _LAYERS[kind](x, first[0], *options)
        else:
            path = _parameter(self.entry.program.value, weight.source).rpartition(".")[0]
            path = path.removeprefix(Entry.PREFIX).removeprefix(".")
            cell, _, nonlinearity = kind.partition("_")
            y, *final = opaque_layer(cell, path, x, first, given, relu=nonlinearity == "RELU")
        return y, [state.squeeze(0) for state in final]


def _read_of(outline: Outline, position: int) -> set[int]:
    """The operations of a loop whose results at every step are read by what comes after it."""
    operations = [op for item in outline.items for op in (item.body if isinstance(item, Loop) else (item,))]
    leaves = [leaf for op in operations for leaf in op.leaves()] + tree_leaves(outline.outputs)
    initial = [leaf.initial for leaf in leaves if isinstance(leaf, Previous)]
    last = outline.items[position].count  # type: ignore[union-attr]
    at_end = StepIndex(last.per_length, 0, last.constant - 1)
    return {
        leaf.offset
        for leaf in [*leaves, *initial]
        if (isinstance(leaf, Gathered) or (isinstance(leaf, Element) and leaf.index != at_end))
        and leaf.loop == position
    }


class _Steps:
    """The list of a value at all steps, kept as one tensor [steps, …]."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _has_steps(items: list[Any]) -> bool:
    return any(isinstance(item, _Steps) for item in items)


def _joined(items: Any, target: Any, axis: int) -> Tensor:
    """What `stack` or `cat` make of a list of steps, or of one that holds others beside them."""
    parts = [items] if isinstance(items, _Steps) else items
    rank = next(part.tensor.dim() - 1 for part in parts if isinstance(part, _Steps))
    if target is aten.stack.default:
        axis %= rank + 1
        tensors = [p.tensor.movedim(0, axis) if isinstance(p, _Steps) else p.unsqueeze(axis) for p in parts]
    elif target is aten.cat.default:
        axis %= rank
        tensors = [p.tensor.movedim(0, axis).flatten(axis, axis + 1) if isinstance(p, _Steps) else p for p in parts]
    else:
        raise NotVectorizableError(f"the results of all steps go into {target}")
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, axis)


def _parameter(program: torch.export.ExportedProgram, placeholder: str | int) -> str:
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return str(names.get(str(placeholder), ""))


def _placeholders(entry: OutlineEntry, tensors: Sequence[Tensor]) -> dict[str, Any]:
    program = entry.program.value
    signature = program.graph_signature
    values: dict[str, Any] = dict(zip(signature.user_inputs, tensors, strict=True))
    for name, path in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items():
        values[name] = _attribute(entry, path)
    for name, path in signature.inputs_to_lifted_tensor_constants.items():
        values[name] = program.constants[path]
    return values


def _attribute(module: nn.Module, path: str) -> Any:
    parent, _, name = path.rpartition(".")
    return getattr(module.get_submodule(parent), name)
