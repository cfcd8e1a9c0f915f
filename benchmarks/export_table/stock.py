"""PyTorch's own exporters on the same cases."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.export_table.export_cases import ExportCase
from benchmarks.export_table.outcomes import draw, specs
from rnnexport.capture import InputSpec

EXPORTERS = {"torch.onnx.export": True, "torch.onnx.export, dynamo=False": False}
_TRACED = (3, 6)
"""Batch and time of the example that the exporters are given."""


class Positional(nn.Module):
    """Calls a module with tensors given one by one; `hx.0` and `hx.1` become one tuple."""

    def __init__(self, module: nn.Module, inputs: list[InputSpec]) -> None:
        super().__init__()
        self.module, self.names = module, [spec.name for spec in inputs]

    def forward(self, a: Tensor, b: Tensor | None = None, c: Tensor | None = None, d: Tensor | None = None) -> Any:
        """Call the module with as many as it takes."""
        groups: dict[str, list[Tensor]] = {}
        for name, tensor in zip(self.names, (a, b, c, d), strict=False):
            assert tensor is not None
            groups.setdefault(name.partition(".")[0], []).append(tensor)
        return self.module(*(group[0] if len(group) == 1 else tuple(group) for group in groups.values()))


def stock_export(module: nn.Module, case: ExportCase, path: Path, *, dynamo: bool) -> None:
    """Export as PyTorch's documentation shows it, with every dynamic dimension declared."""
    inputs = specs(case)
    tensors = tuple(torch.from_numpy(array) for array in draw(case, *_TRACED).values())
    names = [spec.name for spec in inputs]
    dynamic = [{i: d for i, d in enumerate(spec.shape) if isinstance(d, str)} for spec in inputs]
    options: dict[str, Any] = {"dynamic_axes": dict(zip(names, dynamic, strict=True))}
    if dynamo:
        shapes = [dict.fromkeys(dimensions, torch.export.Dim.DYNAMIC) for dimensions in dynamic]
        options = {"dynamic_shapes": shapes}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Positional(module, inputs).eval(), tensors, str(path), input_names=names, dynamo=dynamo, **options
        )
