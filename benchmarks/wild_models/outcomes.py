"""Runs a bundle in ONNX Runtime beside its module, at batches and lengths that the export did not draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rnnexport.bundle.bundle import Bundle
from rnnexport.capture import InputSpec, call_module, parse_input_spec
from rnnexport.capture.inputs import symbolic_dimensions
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition

_SIZES = ((1, 1), (2, 3), (3, 10), (5, 41), (7, 2))
"""Of the batch and of every other dimension: how many steps above the smallest."""
_TOLERANCE = 1e-4


def first_difference(module: nn.Module, inputs: Sequence[str], bundle: Bundle) -> str:
    """Where the graph gives something else than the module in evaluation mode, or nothing."""
    specs = [parse_input_spec(text) for text in inputs]
    definition = Definition(name="ort-cpu", engine="onnxruntime", precision="float32", threads=1)
    session = get_engine("onnxruntime").load(bundle.path / "model.onnx", definition)
    taken = {value.name for value in session.inputs}
    compared = 0
    for batch, steps in _SIZES:
        sizes = {}
        for dimension in symbolic_dimensions(specs):
            found = bundle.manifest.sizes.get(dimension)
            minimum, step = (found.minimum, found.step) if found else (1, 1)
            sizes[dimension] = batch if dimension == "batch" else minimum + (steps - 1) * step
        feeds = {spec.name: _drawn(spec, sizes) for spec in specs}
        where = ", ".join(f"{dimension}={size}" for dimension, size in sizes.items())
        try:
            expected = call_module(module, specs, [torch.from_numpy(array.copy()) for array in feeds.values()])
        except Exception:  # the module itself does not take these sizes
            continue
        actual = session.run({name: array for name, array in feeds.items() if name in taken}).values()
        compared += 1
        for output, reference in zip(actual, expected, strict=True):
            wanted = reference.numpy()
            if output.shape != wanted.shape or not np.allclose(output, wanted, _TOLERANCE, _TOLERANCE, equal_nan=True):
                return f"another result at {where}"
    return "" if compared > 1 else "the module runs at none of the sizes that were tried"


def _drawn(spec: InputSpec, sizes: dict[str, int]) -> NDArray[np.generic]:
    shape = [sizes[d] if isinstance(d, str) else d for d in spec.shape]
    generator = np.random.default_rng([7, *sizes.values()])
    if spec.values is not None:
        low, high = spec.values
        drawn = generator.uniform(low, high, shape)
        return (np.round(drawn) if "int" in spec.dtype else drawn).astype(spec.dtype)
    if spec.dtype == "bool":
        return np.arange(shape[-1]) < generator.integers(1, shape[-1] + 1, [*shape[:-1], 1])
    if "int" in spec.dtype and len(shape) == 1:
        steps = next((size for dimension, size in sizes.items() if dimension != "batch"), 1)
        lengths = generator.integers(1, steps + 1, shape)
        lengths[0] = steps
        return np.sort(lengths)[::-1].astype(spec.dtype)
    if "int" in spec.dtype:
        return generator.integers(0, 10, shape).astype(spec.dtype)
    return generator.normal(size=shape).astype(spec.dtype)
