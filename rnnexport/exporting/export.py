"""`rnnexport.export`: one door for every kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnexport.arguments.options import with_arguments
from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.store import check_target
from rnnexport.errors import InputError
from rnnexport.exporting.checkpoint import export_checkpoint
from rnnexport.exporting.keras_source import export_keras
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.source_files import file_kind
from rnnexport.exporting.torch_files import read_script
from rnnexport.exporting.writing import EXPORTED
from rnnexport.onnx_files.collector import few_collections

if TYPE_CHECKING:
    import torch
    from torch import nn


_DECODER = {"encoder", "decoder_step", "step_input", "start_token", "stop_token"}
_FORMS = {"out", "sbom", "opset_version", "streaming", "openvino", "compress", "stateful", "cpp"}
"""Options of graphs that are made here, whatever from. `opset_version` is for whoever writes the graph; `Graphs` and
`finish` see to the others."""


@few_collections()
def export_with(
    source: nn.Module | torch.jit.ScriptFunction[Any, Any] | torch.export.ExportedProgram | str | Path,
    options: ExportOptions,
) -> Bundle:
    """Write a model as a bundle.

    `source` is a module of your own, also as `torch.compile`, `DataParallel`, `torch.jit` or `torch.export` left it, a
    TorchScript file, the checkpoint folder that `train` wrote, an ONNX file of any origin, or a whole Keras model,
    `.keras` or `.h5`.

    Raises:
        InputError: `source` or `inputs` are wrong.
        CheckpointError: The checkpoint is missing or damaged.
        ExportError: The module cannot be written as one graph for all sizes, or a Keras layer cannot be exported.
        BundleError: `out` cannot be written.
    """
    options.check()
    target = Path(options.out) if options.out is not None else None
    if target is not None:
        check_target(target)  # before the work begins
    kind = file_kind(source)
    if kind == "onnx":
        from rnnexport.exporting.onnx_source import export_onnx

        options.refuse_all_but(
            {"out", "sbom", "sample", "streaming", "cpp", "class_names"},
            "an ONNX file, which becomes a bundle as it is",
        )
        return export_onnx(Path(str(source)), target, options)
    if kind == "keras":
        options.refuse_all_but(_FORMS | {"lengths", "class_names"}, "a Keras model")
        bundle, notes = export_keras(Path(str(source)), target, options)
        for note in notes:
            options.on_note(note)
        return bundle
    if kind == "program":
        source = read_script(Path(str(source)))
    if isinstance(source, str | Path):
        options.refuse_all_but(_FORMS | {"lengths"}, "a checkpoint")
        return export_checkpoint(Path(source), target, options)
    from rnnexport.capture import parse_input_spec
    from rnnexport.exporting.module import export_module
    from rnnexport.exporting.sources import prepared

    options.refuse_all_but(
        _FORMS | _DECODER | {"lengths", "inputs", "output_names", "strict", "sample", "class_names"}, "a module"
    )
    if not options.inputs:
        raise InputError("a module needs its inputs; give them like `inputs=tokens:int64[batch,time]`")
    specs = [parse_input_spec(spec) if isinstance(spec, str) else spec for spec in options.inputs]
    ready = prepared(source, specs)
    folder = target or EXPORTED / type(ready.module).__name__
    bundle, notes = export_module(ready.module, ready.inputs, folder, options)
    for note in [*ready.notes, *notes]:
        options.on_note(note)
    return bundle


export = with_arguments(ExportOptions, export_with, "export")
