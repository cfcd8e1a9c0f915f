"""What an exporter makes of a case: right, wrong, or an error, in each runtime, at sizes that were not traced."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.export_table.export_cases import ExportCase
from rnnexport.capture import InputSpec, call_module, parse_input_spec
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.errors import RnnexportError

Arrays = dict[str, NDArray[Any]]
SIZES = [(1, 1), (1, 9), (4, 1), (3, 7), (2, 13), (1, 9)]
"""Batch and time of the calls, all on one session; from the smallest time that the model takes on."""
RUNTIMES = {
    "ONNX Runtime": Definition(name="ort", engine="onnxruntime", precision="float32", threads=1),
    "OpenVINO": Definition(name="openvino", engine="openvino", precision="float32", threads=1),
    "OpenVINO, static": Definition(
        name="openvino-static", engine="openvino", precision="float32", threads=1, options={"static_shapes": True}
    ),
}


def draw(case: ExportCase, batch: int, time: int) -> Arrays:
    """Inputs of one call."""
    time = case.least + (time - 1) * case.step
    generator = np.random.default_rng([batch, time])
    sizes = {"batch": batch, "time": time, "target_time": time + 2}

    def values(spec: InputSpec) -> NDArray[Any]:
        shape = [sizes[d] if isinstance(d, str) else d for d in spec.shape]
        if spec.name == "lengths":
            lengths = generator.permutation([time, *generator.integers(1, time + 1, batch - 1)])
            return (np.sort(lengths)[::-1] if case.sorted_lengths else lengths).astype(np.int64)
        if not spec.dtype.startswith("float"):
            low, high = spec.values or (0, 1 if spec.dtype == "bool" else 9)
            return generator.integers(int(low), int(high) + 1, shape).astype(spec.dtype)
        return generator.standard_normal(shape).astype(spec.dtype)

    return {spec.name: values(spec) for spec in specs(case)}


def specs(case: ExportCase) -> list[InputSpec]:
    """The inputs, parsed."""
    return [parse_input_spec(text) for text in case.inputs]


def answers(module: torch.nn.Module, case: ExportCase, feeds: Arrays, dtype: torch.dtype | None) -> list[NDArray[Any]]:
    """The module's outputs in `dtype`, which is then the default of what forward makes, or in its own precision."""
    twin = copy.deepcopy(module).eval()
    tensors = [torch.from_numpy(array) for array in feeds.values()]
    if dtype is not None:
        twin = twin.to(dtype)
        tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype or default)
    try:
        return [output.double().numpy() for output in call_module(twin, specs(case), tensors)]
    finally:
        torch.set_default_dtype(default)


def largest_excess(module: torch.nn.Module, case: ExportCase, path: Path, runtime: str) -> float:
    """Largest error in a runtime over its bound, max(2e-6, 4 × PyTorch's own error); infinite for another shape.

    Raises:
        RnnexportError: The runtime cannot load or run the graph.
    """
    session = get_engine(RUNTIMES[runtime].engine).load(path, RUNTIMES[runtime])
    excess = 0.0
    for batch, time in SIZES:
        feeds = draw(case, batch, time)
        named = match_names(feeds, [spec.name for spec in session.inputs])
        actual = list(session.run(named).values())
        expected, rounded = answers(module, case, feeds, torch.float64), answers(module, case, feeds, None)
        if [a.shape for a in actual] != [e.shape for e in expected]:
            return float("inf")
        for a, e, r in zip(actual, expected, rounded, strict=True):
            bound = max(2e-6, 4 * float(np.abs(r - e).max(initial=0)))
            excess = max(excess, float(np.abs(np.nan_to_num(a.astype(np.float64), nan=1e9) - e).max(initial=0)) / bound)
    session.close()
    return excess


def match_names(feeds: Arrays, names: list[str]) -> Mapping[str, NDArray[Any]]:
    """The feeds by name; exporters that rename inputs keep their order."""
    return feeds if set(feeds) == set(names) else dict(zip(names, feeds.values(), strict=False))


def outcome(module: torch.nn.Module, case: ExportCase, path: Path, runtime: str) -> str:
    """One word for one runtime."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "right" if largest_excess(module, case, path, runtime) <= 1 else "**wrong**"
        except RnnexportError:
            return "does not run"
