"""Any module with recurrent layers → an ONNX graph with one fused node per layer, batch and time dynamic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import nn
from torch.utils._pytree import tree_unflatten

from rnnexport.capture.captured import Captured, Condition
from rnnexport.capture.dynamic_sizes import BranchError, check_conditions, dimension_names
from rnnexport.capture.failures import FrozenDimensionError
from rnnexport.capture.inputs import InputSpec, SizeRange
from rnnexport.capture.opsets import DEFAULT_OPSET, check_opset
from rnnexport.capture.ranges import find_ranges
from rnnexport.capture.recurrent_nodes import lower_recurrent_layers
from rnnexport.capture.replaying import computes_like
from rnnexport.capture.rerolling import trace_with_loops
from rnnexport.capture.tidying import tidy
from rnnexport.capture.tracing import Entry, Trace, sample_sizes, trace
from rnnexport.capture.translation import translate
from rnnexport.errors import InputError, RnnexportError

_BRANCHES = 2
"""How many branches on sizes are tried."""


def capture(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    *,
    output_names: Sequence[str] | None = None,
    opset_version: int = DEFAULT_OPSET,
    known_sizes: Mapping[str, int] = MappingProxyType({}),
) -> Captured:
    """Write `module` as an ONNX graph. The module is left as it was.

    Args:
        module: Any module; it is captured in evaluation mode.
        inputs: What forward is given, by the names of its parameters, or, if none is such a name, in order. These are
            the graph's inputs.
        output_names: Names of the graph's outputs, in the order in which forward returns its tensors. By default a
            dictionary's keys, `output` for a single tensor, and `output_0`, `output_1` … for several.
        opset_version: ONNX operator set, one of `OPSETS`.
        known_sizes: Sizes of the symbolic dimensions that the module is known to take.

    Raises:
        InputError: The inputs do not fit the forward, or an argument is out of range.
        ExportError: The module cannot be written as one graph for all sizes; the message names the place in its code.
    """
    check_opset(opset_version)
    _check_inputs(inputs)
    ranges = find_ranges(module, inputs, known_sizes)
    sizes = sample_sizes(module, inputs, ranges)
    traced, dimensions, conditions = _right_branch(module, inputs, sizes, ranges)
    found = [sizes.described(name) for name, sizes in ranges.items() if sizes != SizeRange()]
    notes = [f"the module takes {', '.join(found)}"] if found else []
    for name, size in traced.seen.least.items():
        if (least := ranges[name].at_least(size)) > ranges[name].minimum:
            ranges[name] = SizeRange(least, ranges[name].step)
            notes.append(f"the graph takes {name} >= {least}: its loop has no step at smaller sizes")
    names, renamed = _output_names(traced.program, output_names, inputs)
    translated = translate(traced.program, opset_version)
    lower_recurrent_layers(translated.model)
    tidy(translated.model, [spec.name for spec in inputs], names, dimensions)
    notes += renamed
    if left_out := traced.seen.left_out:
        notes.append(f"forward also returns {', '.join(left_out)}, no tensor, which the graph does not give")
    if unchecked := traced.seen.unchecked:
        notes.append(f"{unchecked[0]}forward checks values here, which the graph does not")
    changed = sorted({*traced.seen.kept, *_changed_buffers(translated)})
    if changed:
        notes.append(f"forward sets {', '.join(changed)}, which the graph does not keep between calls")
    if any(child.training for child in module.modules()):
        notes.append("the module was in training mode; it is exported in evaluation mode")
    return Captured(translated.model, notes, ranges, conditions, traced.seen.cuts)


_Traced = tuple[Trace, dict[str, str], list[Condition]]


def _right_branch(
    module: nn.Module, inputs: Sequence[InputSpec], sizes: dict[str, int], ranges: Mapping[str, SizeRange]
) -> _Traced:
    """Trace with these sizes, or, where forward branches on one, with sizes that take the branch that is always right.

    Raises:
        ExportError: The module cannot be traced, or no branch is always right.
    """
    first: BranchError | None = None
    for _ in range(_BRANCHES):
        try:
            return _traced(module, inputs, sizes, ranges)
        except BranchError as exc:
            first, sizes = first or exc, {**sizes, **exc.other}
        except RnnexportError as exc:
            raise first or exc from None
    assert first is not None
    raise first


def _traced(
    module: nn.Module, inputs: Sequence[InputSpec], sizes: dict[str, int], ranges: Mapping[str, SizeRange]
) -> _Traced:
    """Trace a module, name the sizes in the trace, and check what it takes for granted of them."""
    traced = _trace(module, inputs, sizes, ranges)
    dimensions = dimension_names(traced.program, inputs)
    small = {name: found.at_least(3) for name, found in ranges.items()}
    conditions = check_conditions(
        traced.program,
        dimensions,
        ranges,
        works_with=lambda other: _can_trace(module, inputs, {**sizes, **other}),
        agrees_at=lambda other: computes_like(traced.program, module, inputs, {**small, **other}),
    )
    return traced, dimensions, conditions


def _trace(
    module: nn.Module, inputs: Sequence[InputSpec], sizes: dict[str, int], ranges: Mapping[str, SizeRange]
) -> Trace:
    try:
        return trace(module, inputs, sizes)
    except FrozenDimensionError as exc:
        return trace_with_loops(module, inputs, sizes, exc, ranges.get(exc.dimension, SizeRange()))


def _changed_buffers(translated: torch.onnx.ONNXProgram) -> list[str]:
    assert translated.exported_program is not None
    changed = translated.exported_program.graph_signature.buffers_to_mutate.values()
    return [name.removeprefix(f"{Entry.PREFIX}.") for name in changed]


def _can_trace(module: nn.Module, inputs: Sequence[InputSpec], sizes: dict[str, int]) -> bool:
    try:
        trace(module, inputs, sizes)
    except RnnexportError:
        return False
    return True


def _check_inputs(inputs: Sequence[InputSpec]) -> None:
    names = [spec.name for spec in inputs]
    if not names:
        raise InputError("a graph needs at least one input; write it like 'x:float32[batch,time,12]'")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"input {twice[0]!r} is given twice")


def _output_names(
    program: torch.export.ExportedProgram, given: Sequence[str] | None, inputs: Sequence[InputSpec]
) -> tuple[list[str], list[str]]:
    """Name the tensors that forward returns; and say which could not keep their names.

    Raises:
        InputError: Not one name for each.
    """
    default = list(tree_unflatten(range(program.call_spec.out_spec.num_leaves), program.call_spec.out_spec))
    taken = {spec.name for spec in inputs}
    if given is None:
        names = [f"output_{name}" if name in taken else name for name in default]
        notes = [f"output {name!r} is named like an input; it is 'output_{name}'" for name in default if name in taken]
        return names, notes
    if len(given) != len(default) or len(set(given)) != len(given):
        raise InputError(
            f"output_names {list(given)!r}: forward returns {len(default)} tensors; give each its own name"
        )
    if both := [name for name in given if name in taken]:
        raise InputError(f"output_names: {both[0]!r} is the name of an input")
    return list(given), []
