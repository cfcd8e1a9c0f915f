"""Time and memory of an export, beside PyTorch's default exporter in the same run: `nox -s bench` prints the table.

python -m benchmarks.export_table.measure_export [--large-model]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import nn

import rnnexport
from benchmarks.export_table.export_cases import CASES, ExportCase
from benchmarks.export_table.outcomes import specs
from benchmarks.export_table.stock import stock_export
from rnnexport.bundle.bundle import reference_bundles
from rnnexport.capture import capture, capture_plain
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.options import ExportOptions
from rnnexport.models.classifier import load_model

REPEATS = 5
MODELS = ["LSTM: one layer", "embedding → GRU → head", "Conv1d → LSTM", "LSTM → attention → head, dict of outputs"]
LARGE = "--large-model"


def seconds(action: Callable[[Path], object]) -> float:
    """Median time of an action, warm; it gets an empty folder."""
    taken = []
    for _ in range(REPEATS + 1):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            action(Path(folder))
            taken.append(time.perf_counter() - start)
    return median(taken[1:])


def write(module: nn.Module, case: ExportCase, folder: Path) -> None:
    """Capture a module and write the graph."""
    import onnx_ir

    captured = capture(module, specs(case))
    onnx_ir.save(Graphs.make(captured.model, ExportOptions()).sequence, folder / "model.onnx")


def write_plain(folder: Path) -> None:
    """Write the graph of a plain stack with a head."""
    import onnx_ir

    source = reference_bundles()[1]
    model = load_model(source / "model.json", source / "weights.safetensors")
    onnx_ir.save(Graphs.make(capture_plain(model).model, ExportOptions()).sequence, folder / "model.onnx")


class Large(nn.Module):
    """200 MB of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(1024, 1460, 3, batch_first=True), nn.Linear(1460, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The head on every step."""
        return self.head(self.rnn(x)[0])


def memory_of_a_large_export() -> None:
    """Print the size of a model, and the peak of memory that its export takes on top of it, in its own process."""
    module = Large()
    size = sum(parameter.nbytes for parameter in module.parameters())
    with tempfile.TemporaryDirectory() as folder:
        rnnexport.export(nn.LSTM(5, 8), Path(folder, "small"), inputs=specs(CASES[0]))  # what the libraries take
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        rnnexport.export(module, Path(folder, "large"), inputs=["x:float32[batch,time,1024]"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"a model of {size / 2**20:.0f} MiB: export takes {(peak - before) / size:.2f} × its size of memory on top")


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    if LARGE in sys.argv:
        return memory_of_a_large_export()
    print(f"export, warm, median of {REPEATS}: rnnexport | torch.onnx.export | ratio")
    print(f"plain stack with a head, from a checkpoint: {seconds(write_plain):.2f} s")
    for name in MODELS:
        case = next(case for case in CASES if case.name == name)
        module = case.make()
        ours = seconds(partial(write, module, case))
        stock = seconds(partial(stock_once, module, case))
        print(f"{name}: {ours:.2f} s | {stock:.2f} s | {ours / stock:.2f}")
    return None


def stock_once(module: nn.Module, case: ExportCase, folder: Path) -> None:
    """PyTorch's exporter without what it remembers of recurrent layers, which makes a second export fail."""
    for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
        operator._dispatch_cache.clear()
    stock_export(module, case, folder / "model.onnx", dynamo=True)


if __name__ == "__main__":
    main()
