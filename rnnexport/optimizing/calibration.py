"""What the products of recurrent layers take on real inputs, for rounding weights so that the products change least."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import InputError
from rnnexport.onnx_files.nodes import node_name, required_input
from rnnexport.passes.lowering import CalibrationStatistics
from rnnexport.passes.recognising.recurrent import is_recurrent
from rnnexport.runtime.worker import Arrays, infer

_RUNTIME = Definition(name="ort-cpu", engine="onnxruntime", precision="float32", threads=1)
_PREFIX = "rnnexport.observed_"


def check_finite(path: Path, calls: Sequence[Feeds]) -> None:
    """Refuse inputs that would spoil the moments.

    Raises:
        InputError: An input holds NaN or an infinity.
    """
    for feeds in calls:
        for name, array in feeds.items():
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise InputError(f"{path}: {name!r} holds values that are not finite; fill padding with zeros")


def layer_statistics(model: ir.Model, calls: Sequence[Feeds]) -> dict[str, CalibrationStatistics]:
    """Run a model and return the moments of X and of h for each LSTM and GRU node outside sub-graphs, by name.

    Raises:
        EngineError: ONNX Runtime cannot run the model.
    """
    observed = model.clone()
    layers = [node for node in observed.graph if is_recurrent(node)]
    for number, node in enumerate(layers):
        for letter, value in (("X", required_input(node, 0)), ("Y", node.outputs[0])):
            value.name = value.name or f"{_PREFIX}Y_{number}"  # an output that nothing uses has no name
            copy = ir.node("Identity", [value], outputs=[ir.Value(name=f"{_PREFIX}{letter}{number}")])
            copy.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            observed.graph.insert_after(node, copy)
            observed.graph.outputs.append(copy.outputs[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "observed.onnx"
        ir.save(observed, path, external_data="observed.onnx.data")
        results = [result.checked().outputs for result in infer(path, _RUNTIME, calls)]
    return {node_name(node): _layer_statistics(results, number) for number, node in enumerate(layers)}


def _layer_statistics(results: Sequence[Arrays], number: int) -> CalibrationStatistics:
    xs = [outputs[f"{_PREFIX}X{number}"] for outputs in results]
    ys = [outputs[f"{_PREFIX}Y{number}"] for outputs in results]
    return CalibrationStatistics(_moments(xs), tuple(_moments([y[:, d] for y in ys]) for d in range(ys[0].shape[1])))


def _moments(values: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Σ x·xᵀ over all axes but the last."""
    rows = np.concatenate([value.reshape(-1, value.shape[-1]) for value in values]).astype(np.float64)
    moments: NDArray[np.float64] = rows.T @ rows
    return moments
