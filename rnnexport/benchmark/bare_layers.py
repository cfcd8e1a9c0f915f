"""Worker jobs on one bare recurrent layer with random weights: write it, compute what it should give, time PyTorch.

The layer is `nn.LSTM` or `nn.GRU` with `batch_first`: x [B, T, H] → y [B, T, H]. Each job is a process of its own:
PyTorch's exporter freezes sizes when something was exported before, and compiling changes settings of the process.
"""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnexport.benchmark.timing import time_windows
from rnnexport.engines.contract import Feeds
from rnnexport.runtime.worker import Arrays, Extras

if TYPE_CHECKING:
    from torch import nn

WEIGHTS, STOCK, OURS = "weights.safetensors", "stock.onnx", "rnnexport.onnx"


def write_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: draw weights, and export the layer with PyTorch's exporter and with ours, into `folder`.

    PyTorch's is given an example of the very size that is measured: it declares y with the example's time steps, and
    ONNX Runtime then refuses a buffer of another size.
    """
    import onnx_ir
    import torch
    from safetensors.torch import save_file

    from rnnexport.capture import capture, parse_input_spec
    from rnnexport.passes.transpositions import Transpositions

    for feeds in cases:
        torch.manual_seed(arguments["seed"])
        size, folder = arguments["hidden_size"], Path(arguments["folder"])
        layer = _new_layer(arguments)
        save_file({name: tensor.contiguous() for name, tensor in layer.state_dict().items()}, folder / WEIGHTS)
        sizes = {"x": dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)}
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _output_only(layer),
                (torch.from_numpy(feeds["x"]),),
                str(folder / STOCK),
                input_names=["x"],
                output_names=["y"],
                dynamic_shapes=sizes,
            )
        captured = capture(_output_only(layer), [parse_input_spec(f"x:float32[batch,time,{size}]")], output_names=["y"])
        Transpositions()(captured.model)
        onnx_ir.save(captured.model, folder / OURS)
        yield {}, {}


def layer_reference_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: y in float64 and in float32."""
    import torch

    layer = _load(arguments)
    for feeds in cases:
        x = torch.from_numpy(feeds["x"])
        with torch.inference_mode():
            float32 = layer.float()(x)[0].numpy()
            float64 = layer.double()(x.double())[0].numpy()
        yield {"float32": float32, "float64": float64}, {}


def pytorch_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: time the layer in PyTorch's eager mode, or compiled, window by window."""
    import torch

    started = time.perf_counter_ns()
    layer: Any = _load(arguments)
    if arguments["compiled"]:
        torch._dynamo.config.allow_rnn = True  # off, it would fall back to eager mode
        layer = torch.compile(layer)
    load_ns = time.perf_counter_ns() - started

    def bind(feeds: Feeds) -> Any:
        x = torch.from_numpy(np.array(feeds["x"]))

        @torch.inference_mode()
        def call() -> Arrays:
            return {"y": layer(x)[0].numpy()}

        return call

    yield from time_windows(bind, lambda feeds: bind(feeds)(), cases, arguments["window_seconds"], {"load_ns": load_ns})


def _new_layer(arguments: dict[str, Any]) -> nn.RNNBase:
    from torch import nn

    cells: dict[str, type[nn.LSTM | nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
    size = arguments["hidden_size"]
    return cells[arguments["cell"]](size, size, batch_first=True).eval()


def _output_only(layer: nn.RNNBase) -> nn.Module:
    """The layer without its final states."""
    from torch import Tensor, nn

    class Output(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.layer(x)[0]
            return output

    return Output().eval()


def _load(arguments: dict[str, Any]) -> nn.RNNBase:
    from safetensors.torch import load_file

    layer = _new_layer(arguments)
    layer.load_state_dict(load_file(Path(arguments["folder"]) / WEIGHTS))
    return layer
