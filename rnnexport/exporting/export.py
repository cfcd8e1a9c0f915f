"""`rnnexport.export`: one door for every kind of source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnexport.bundle.bundle import Bundle
from rnnexport.errors import InputError
from rnnexport.exporting.checkpoint import EXPORTED, export_checkpoint
from rnnexport.exporting.graphs import Lengths, Options
from rnnexport.exporting.keras_source import export_keras
from rnnexport.exporting.onnx_source import export_onnx
from rnnexport.keras_files.archive import is_keras_file

if TYPE_CHECKING:
    from torch import nn

    from rnnexport.capture import InputSpec


def export(
    source: nn.Module | str | Path,
    out: str | Path | None = None,
    *,
    inputs: Sequence[str | InputSpec] = (),
    output_names: Sequence[str] | None = None,
    lengths: Lengths = "exact",
    opset_version: int | None = None,
    streaming: bool = False,
    openvino: bool = False,
    compress: bool = False,
    stateful: bool = False,
    sample: str | Path | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Write a model as a bundle.

    Args:
        source: A module of your own, the checkpoint folder that `train` wrote, an ONNX file of any origin, or a whole
            Keras model, `.keras` or `.h5`.
        out: The bundle's folder. Default: `exported/CELL` for a checkpoint, `exported/CLASS` for a module, and
            `exported/NAME` for a file.
        inputs: What a module's forward takes, such as `"tokens:int64[batch,time]"`; words are dynamic dimensions.
        output_names: Names of a module's outputs, in the order in which forward returns its tensors.
        lengths: What becomes of packed sequences: `exact` is right in every runtime, `sequence-lens` leaves the
            operator's own input, which OpenVINO ignores with dynamic shapes.
        opset_version: ONNX operator set.
        streaming: Write `step.onnx`, too: it takes a chunk of the series and the states, and gives the new states.
        openvino: Write OpenVINO's own format, too.
        compress: Store the weights of OpenVINO's format as float16.
        stateful: Keep the states inside OpenVINO's step graph.
        sample: For an ONNX file that needs real inputs, a npz with one array for each.
        on_note: Is told what the export found that its user should know, one sentence each.

    Raises:
        InputError: `source` or `inputs` are wrong.
        CheckpointError: The checkpoint is missing or damaged.
        ExportError: The module cannot be written as one graph for all sizes, or a Keras layer cannot be exported.
        BundleError: `out` cannot be written.
    """
    target = Path(out) if out is not None else None
    options = Options(
        lengths=lengths,
        opset_version=opset_version,
        streaming=streaming,
        openvino=openvino,
        compress=compress,
        stateful=stateful,
    )
    if str(source).endswith(".onnx"):
        return export_onnx(Path(str(source)), target, Path(sample) if sample is not None else None)
    if isinstance(source, str | Path) and is_keras_file(Path(source)):
        bundle, notes = export_keras(Path(source), target, options)
        for note in notes:
            on_note(note)
        return bundle
    if isinstance(source, str | Path):
        return export_checkpoint(Path(source), target, options)
    from rnnexport.capture import parse_input_spec
    from rnnexport.exporting.module import export_module

    if not inputs:
        raise InputError("a module needs its inputs; give them like inputs=['tokens:int64[batch,time]']")
    specs = [parse_input_spec(spec) if isinstance(spec, str) else spec for spec in inputs]
    bundle, notes = export_module(source, specs, target or EXPORTED / type(source).__name__, options, output_names)
    for note in notes:
        on_note(note)
    return bundle
