"""Hands a traced program to PyTorch's ONNX exporter, and does without what it wastes.

1. The exporter reads the source of each of its 540 translations and what they take, at every export; here they are read
   when they are used, and the table is made once. That is half a second each time.
2. It traces every program again, to take operators apart that have no translation. Where all have one, and none changes
   a tensor in place, there is nothing to take apart. That is half of a warm capture. So what nothing reads is dropped
   first, and some common operators become those that they are made of.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from onnxscript.values import TracedOnnxFunction
from torch import fx
from torch._C import _functorch
from torch._ops import OpOverload
from torch.onnx._internal.exporter import _fx_passes, _registration
from torch.onnx._internal.exporter._torchlib import ops  # noqa: F401 - PyTorch's own translations, read as usual

from rnnexport.capture.failures import translation_error
from rnnexport.capture.tracing import quiet

aten = torch.ops.aten


def translate(program: torch.export.ExportedProgram, opset_version: int) -> torch.onnx.ONNXProgram:
    """Write each operator of `program` in ONNX; optimization comes later, when recurrent layers are lowered.

    Raises:
        ExportError: An operator has no ONNX form; the message names its place in the module's code.
    """
    depth = _functorch.get_dynamic_layer_stack_depth()
    _simplify(program.graph)
    try:
        with quiet(), _without_waste(opset_version), torch.no_grad():
            result = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False, opset_version=opset_version)
    except Exception as exc:
        _functorch.pop_dynamic_layer_stack_and_undo_to_depth(depth)  # what vmap leaves open changes every later call
        raise translation_error(exc, program) from exc
    assert result is not None
    return result


class _ReadWhenUsed(_registration.ONNXRegistry):
    """The table of translations."""

    def get_decomps(self, target: Any) -> list[_registration.OnnxDecompMeta]:
        """Look translations up, and read what they take."""
        found = super().get_decomps(target)
        for translation in found:
            translation.__post_init__()  # does nothing the second time
        return found


@cache
def _table(opset_version: int) -> _ReadWhenUsed:
    with (
        _replaced(_registration.OnnxDecompMeta, "__post_init__", lambda _: None),
        _replaced(TracedOnnxFunction, "function_ir", SimpleNamespace(domain="")),  # which would be read and left
    ):
        return _ReadWhenUsed.from_torchlib(opset_version)  # type: ignore[return-value]


@contextmanager
def _without_waste(opset_version: int) -> Iterator[None]:
    decompose = _fx_passes.decompose_with_registry

    def decompose_where_needed(program: torch.export.ExportedProgram, table: Any) -> torch.export.ExportedProgram:
        return program if _is_translatable(program, table) else decompose(program, table)

    table = _table(opset_version)
    with (
        _replaced(_registration.ONNXRegistry, "from_torchlib", lambda *_, **__: table),
        _replaced(_fx_passes, "decompose_with_registry", decompose_where_needed),
    ):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    found = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, found)


_ASSERTIONS = {
    aten.sym_constrain_range_for_size.default,
    aten._assert_scalar.default,
    aten._assert_tensor_metadata.default,
}
"""Have no translation, and the exporter takes them out itself, later."""


def _simplify(graph: fx.Graph) -> None:
    """Drop what nothing reads, and write operators without a translation with others, in place."""
    for node in graph.nodes:
        if node.target in _ASSERTIONS:
            graph.erase_node(node)
    graph.eliminate_dead_code(_has_effect)
    for node in graph.nodes:
        if _gives_its_input(node) and graph.output_node() not in node.users:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    for node in (node for node in graph.nodes if node.op == "call_function" and not node.kwargs):
        match node.target, node.args:
            case aten.item.default, _:
                node.target = aten._local_scalar_dense.default
            case aten.to.dtype, (x, dtype):
                node.target, node.args, node.kwargs = aten._to_copy.default, (x,), {"dtype": dtype}
            case aten.narrow.default, (x, axis, 0, length):  # whose translation adds 0 to the length
                node.target, node.args = aten.slice.Tensor, (x, axis, 0, length)
            case aten.movedim.int, (x, source, destination):
                axes = [*range(x.meta["val"].dim())]
                axes.insert(destination % len(axes), axes.pop(source))
                node.target, node.args = aten.permute.default, (x, axes)


def _gives_its_input(node: fx.Node) -> bool:
    """Whether a node casts to what its input is, as `lengths.cpu()` does."""
    if node.target not in (aten.to.dtype, aten.to.dtype_layout, aten.to.device):
        return False
    given, made = node.args[0].meta["val"], node.meta["val"]  # type: ignore[union-attr]
    return (given.dtype, given.layout, given.device) == (made.dtype, made.layout, made.device)


def _has_effect(node: fx.Node) -> bool:
    """Whether a node may do more than give a result, as `vmap` does, which has no schema to say so."""
    is_known = isinstance(node.target, OpOverload) or getattr(node.target, "__module__", "") == operator.add.__module__
    return node.is_impure() or not is_known


def _is_translatable(program: torch.export.ExportedProgram, table: _registration.ONNXRegistry) -> bool:
    """Whether each operator has a translation and changes nothing in place."""
    return all(
        node.op in ("placeholder", "output")
        or node.target is operator.getitem
        or (
            node.op == "call_function"
            and table.is_registered(node.target)
            and not (isinstance(node.target, OpOverload) and node.target._schema.is_mutable)
        )
        for node in program.graph.nodes
    )
