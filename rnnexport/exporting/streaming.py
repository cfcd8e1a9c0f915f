"""The step graph of a model: made from its sequence graph, and compared with it before anyone relies on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnexport.bundle.manifest import Manifest
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import ExportError
from rnnexport.exporting.judging import LARGEST_DIFFERENCE
from rnnexport.exporting.writing import input_infos
from rnnexport.parity.compare import largest_difference, size_of
from rnnexport.parity.grid import STREAM_GRID, Case, draw_cases
from rnnexport.parity.streaming import draw_streams, run_streams, whole_series
from rnnexport.runtime.worker import infer

if TYPE_CHECKING:
    import onnx_ir

_RUNTIME = Definition(name="ort-cpu", engine="onnxruntime", precision="float32", threads=1)


def make_step_graph(captured: onnx_ir.Model) -> onnx_ir.Model:
    """Return the step graph of a captured graph that still has its `sequence_lens`.

    Raises:
        ExportError: The model cannot run step by step.
    """
    from rnnexport.passes.step import StepGraph

    step = captured.clone()
    StepGraph()(step)
    taken = {value.name for value in step.graph.inputs}
    if kept := [info.name for info in input_infos(captured) if info.role == "lengths" and info.name in taken]:
        raise ExportError(
            f"forward uses the lengths {kept[0]!r} for more than its recurrent layers, so it cannot run step by step"
        )
    return step


def prove_step_graph(manifest: Manifest, folder: Path, calls: Sequence[Case] | None = None) -> None:
    """Feed the same series to `model.onnx`, whole, and to `step.onnx`, in chunks.

    The series are drawn, or those of `calls` whose rows fill the time axis.

    Raises:
        ExportError: They differ: something outside the recurrent layers does not treat every time step alike.
    """
    assert manifest.step is not None
    if not any(manifest.step.time_dimension in info.shape for info in manifest.step.inputs):
        raise ExportError(
            "the time dimension of its recurrent layers is that of no input, so nothing can be fed in chunks"
        )
    if calls is None:
        cases = draw_cases(manifest.inputs, [], STREAM_GRID)
    else:
        normal = [call for call in calls if call.values == "normal"]
        cases = [normal[number] for number in whole_series(manifest, normal)]
    if not cases:
        raise ExportError("no call has a row that fills the time axis, so nothing shows that it can run step by step")
    wholes = list(infer(folder / "model.onnx", _RUNTIME, [case.feeds for case in cases]))
    for case, whole in zip(cases, wholes, strict=True):
        streams = draw_streams(manifest, case)
        results = run_streams(folder / "step.onnx", manifest, _RUNTIME, streams)
        for stream, result in zip(streams, results, strict=True):
            _compare(stream.name, result.checked().outputs, whole.checked().outputs)


def _compare(name: str, streamed: Feeds, whole: Feeds) -> None:
    for output, expected in whole.items():
        actual = streamed[output]
        if largest_difference(actual, expected) > LARGEST_DIFFERENCE * size_of(expected):
            raise ExportError(
                f"output {output!r} of a series fed in chunks is not that of the whole series ({name}), so the model "
                "cannot run step by step: something outside its recurrent layers, such as a convolution, attention or "
                "mean over time, needs more than one step"
            )
