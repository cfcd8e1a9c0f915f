"""Which rewrite is wanted, whether its parts go together, and applying it to a model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from rnnexport.errors import InputError, UnknownNameError
from rnnexport.optimizing.options import Rewrite

if TYPE_CHECKING:
    import onnx_ir

    from rnnexport.passes.lowering import CalibrationStatistics
    from rnnexport.passes.writing.matmul_kernels import Kind, MatmulKernel

_BITS: dict[str, Literal[4, 8]] = {"int8": 8, "int4": 4}
_STACK_BITS: dict[str, Literal[4, 8, 16, 32]] = {"float32": 32, "int16": 16, "int8": 8, "int4": 4}
_BLOCK_SIZE = 128
_STACK_BLOCK_SIZE = 32
_DYNAMIC_PAYS_FROM = 4
"""Rows of a batch."""
_DEQUANTIZE_OPSET = 13
CANDIDATES = {"LSTM": "cell", "GRU": "new"}
"""The gate of each cell whose weights can stay float32 alone; it is the one that errs most."""


class LayerOutcome(BaseModel):
    """What became of one LSTM or GRU node."""

    name: str
    cell: str
    form: str | None
    """What it is now; `None` where it was left as it is."""
    reason: str | None = None
    """Why it was left."""


def apply(
    rewrite: Rewrite,
    model: onnx_ir.Model,
    find_statistics: Callable[[onnx_ir.Model], Mapping[str, CalibrationStatistics]],
) -> list[LayerOutcome]:
    """Rewrite a model in place, and say what became of each layer.

    Args:
        rewrite: What `check` has passed.
        model: The model.
        find_statistics: Called for the moments of the layers' inputs, before the number of time steps is fixed.

    Raises:
        InputError: No layer can be rewritten, or there is none.
        ExportError: The number of time steps cannot be fixed, or the operator set is too old.
    """
    from onnx_ir.passes.common import ShapeInferencePass

    from rnnexport.onnx_files.nodes import node_name
    from rnnexport.passes.fixed_time import FixedTime
    from rnnexport.passes.recognising.recurrent import is_recurrent
    from rnnexport.passes.time_major import TimeMajor

    TimeMajor()(model)
    moments = find_statistics(model) if rewrite.calibrates else {}
    if rewrite.time_steps is not None:
        FixedTime(rewrite.time_steps)(model)
    with contextlib.suppress(Exception):  # of a model that contradicts itself, sizes stay unknown
        ShapeInferencePass()(model)
    nodes = [node for node in model.graph.all_nodes() if is_recurrent(node)]
    if not nodes:
        raise InputError("there is no LSTM or GRU node, so there is nothing to rewrite")
    candidates = _float32_candidates(rewrite, {node_name(node): node.op_type for node in nodes})
    outcomes = [_outcome(rewrite, node, model, candidates) for node in nodes]
    if not any(outcome.form for outcome in outcomes):
        raise InputError(f"no layer can be rewritten; {outcomes[0].name!r} ({outcomes[0].cell}): {outcomes[0].reason}")
    _run(rewrite, model, moments, candidates)
    return outcomes


def _float32_candidates(rewrite: Rewrite, cells: Mapping[str, str]) -> list[str]:
    """The layers of which only the candidate's weights stay float32; refuses what is neither layer nor gate.

    `cells` has the operator of each layer.
    """
    found = []
    for name in rewrite.keep_float32:
        layer, _, gate = name.rpartition(":")
        if name in cells:
            continue
        if layer not in cells:
            raise UnknownNameError("layer", name, cells)
        if gate != CANDIDATES[cells[layer]]:
            raise InputError(
                f"`keep_float32={name}`: of {layer!r} only gate {CANDIDATES[cells[layer]]!r} can stay float32 alone"
            )
        if rewrite.lowering == "fused":
            raise InputError(f"`keep_float32={name}`: a gate can stay float32 with `lowering=scan` or unrolled only")
        found.append(layer)
    return found


def _outcome(
    rewrite: Rewrite, node: onnx_ir.Node, model: onnx_ir.Model, float32_candidates: Sequence[str]
) -> LayerOutcome:
    from rnnexport.onnx_files.nodes import node_name
    from rnnexport.passes.dynamic_lstm import why_not_dynamic
    from rnnexport.passes.lowering import why_not_lowerable
    from rnnexport.passes.recurrent_stack import why_not_stackable
    from rnnexport.passes.single_step import why_not_single_step
    from rnnexport.passes.weight_only_int8 import why_not_stored

    kept = node_name(node) in rewrite.keep_float32
    gate = f", gate {CANDIDATES[node.op_type]} float32" if node_name(node) in float32_candidates else ""
    if rewrite.lowering == "stack":
        reason = why_not_stackable(node, _STACK_BITS[rewrite.weights])
        form = f"stack, {'float32' if kept else rewrite.weights}{gate}"
    elif rewrite.lowering != "fused":
        reason = why_not_lowerable(node, rewrite.lowering)
        weights = "float32" if kept or rewrite.weights == "float32" else _words(recurrent_product(rewrite, model))
        form = f"{rewrite.lowering}, {weights}{gate}"
    elif rewrite.weight_only_int8:
        reason, form = why_not_stored(node), "fused, weights stored as int8"
    elif rewrite.weights == "float32":
        reason, form = why_not_single_step(node), "fused, one step"
    else:
        reason, form = why_not_dynamic(node), "DynamicQuantizeLSTM"
    if kept and rewrite.lowering == "fused" and rewrite.weights != "float32":
        reason = "it was to stay float32"
    return LayerOutcome(name=node_name(node), cell=node.op_type, form=None if reason else form, reason=reason)


def _words(product: MatmulKernel) -> str:
    blocks = f" in blocks of {product.block_size}" if product.kind == "matmulnbits" else ""
    return f"int{product.bits} by {product.kind}{blocks}"


def recurrent_product(rewrite: Rewrite, model: onnx_ir.Model) -> MatmulKernel:
    """The form of the product with R; `auto` is `dynamic` where the graph fixes a batch for which that pays."""
    from rnnexport.passes.writing.matmul_kernels import FLOAT32, MatmulKernel

    if rewrite.weights == "float32":
        return FLOAT32
    bits = _BITS[rewrite.weights]
    dynamic_pays = bits == 8 and _fixed_batch(model) >= _DYNAMIC_PAYS_FROM
    automatic: Kind = "dynamic" if dynamic_pays else "matmulnbits"
    kind: Kind = automatic if rewrite.matmul_kernel == "auto" else rewrite.matmul_kernel
    return MatmulKernel(kind, bits, rewrite.block_size or _BLOCK_SIZE)


def _fixed_batch(model: onnx_ir.Model) -> int:
    """The batch size of the recurrent layers; 0 where it is dynamic."""
    from rnnexport.passes.recognising.recurrent import is_recurrent

    shapes = [node.inputs[0].shape for node in model.graph if is_recurrent(node) and node.inputs[0] is not None]
    sizes = [shape[1] for shape in shapes if shape is not None and len(shape) == 3]
    return min((size if isinstance(size, int) else 0 for size in sizes), default=0)


def _run(
    rewrite: Rewrite,
    model: onnx_ir.Model,
    moments: Mapping[str, CalibrationStatistics],
    float32_candidates: Sequence[str],
) -> None:
    from rnnexport.passes.dynamic_lstm import DynamicLstm
    from rnnexport.passes.lowering import Choices, Lowering
    from rnnexport.passes.recurrent_stack import RecurrentStack, StackChoices
    from rnnexport.passes.single_step import SingleStep
    from rnnexport.passes.weight_only_int8 import WeightOnlyInt8
    from rnnexport.passes.writing.matmul_kernels import FLOAT32, MatmulKernel

    if rewrite.lowering == "fused":
        SingleStep()(model)
        if rewrite.weight_only_int8:
            WeightOnlyInt8(rewrite.keep_float32)(model)
        elif rewrite.weights != "float32":
            DynamicLstm(rewrite.keep_float32)(model)
        return
    if rewrite.lowering == "stack":
        bits, block_size = _STACK_BITS[rewrite.weights], rewrite.block_size or _STACK_BLOCK_SIZE
        activation_bits = rewrite.activation_bits or (8 if bits == 4 else 12)
        RecurrentStack(
            StackChoices(bits, activation_bits, block_size, rewrite.keep_float32, float32_candidates, moments)
        )(model)
        return
    recurrent = recurrent_product(rewrite, model)
    version = model.opset_imports.get("", 1)
    if recurrent.kind == "dequantize" and version < _DEQUANTIZE_OPSET:
        raise InputError(
            f"`matmul_kernel=dequantize` needs operator set {_DEQUANTIZE_OPSET}, the model has {version}; "
            "choose matmulnbits"
        )
    projection = {"float32": FLOAT32, "same": recurrent, "dynamic": MatmulKernel("dynamic")}[rewrite.input_projection]
    choices = Choices(rewrite.lowering, recurrent, projection, rewrite.keep_float32, float32_candidates, moments)
    Lowering(choices)(model)
