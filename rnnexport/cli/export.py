"""`rnnexport export`."""

from __future__ import annotations

import json as json_module
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, say
from rnnexport.errors import InputError
from rnnexport.exporting.options import ExportOptions
from rnnexport.onnx_files.collector import few_collections


@few_collections()
def export(
    options: ExportOptions,
    source: Annotated[
        str | None,
        typer.Argument(
            help="A module of your own, as my_package.models:TaggerNet, a TorchScript file, .pt, an ONNX file, or a "
            "Keras model, .keras or .h5. Default: what `rnnexport train` made.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The module's weights: a .safetensors file, or a state dict or checkpoint in .pt, .pth or .ckpt, "
            "which is read without running code.",
            show_default=False,
        ),
    ] = None,
    kwargs: Annotated[
        str | None,
        typer.Option(
            help="What the class or function is called with, as JSON: '{\"hidden\": 64}'.", show_default=False
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            help="lstm, gru, gru-reset-before or rnn: take its newest checkpoint. Default: both lstm and gru.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint folder that `rnnexport train` wrote.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The bundle's folder. Default: exported/CELL. With both cells: OUT/CELL.", show_default=False
        ),
    ] = None,
    class_names: Annotated[
        Path | None,
        typer.Option(
            help="A text file with a line for each column of the only output of a module, an ONNX file or a Keras "
            "model: what it stands for, in your words.",
            show_default=False,
        ),
    ] = None,
    openvino: Annotated[
        Literal["onnx", "openvino", "cpp"],
        typer.Option(
            "--format",
            help="openvino: write OpenVINO's own format beside the ONNX file. cpp: write stream.h and stream.cpp, a "
            "C++ class that feeds the step graph chunk by chunk.",
        ),
    ] = "onnx",
    inputs_file: Annotated[Path | None, typer.Option("--inputs", hidden=True)] = None,
    json: Json = False,
) -> None:
    """Write a model as an ONNX bundle.

    Example: rnnexport export --cell gru --out exported/gru

    Example: rnnexport export my_package.models:TaggerNet --weights tagger.safetensors --input tokens:int64[batch,time]

    Example: rnnexport export recognizer.onnx --sample sample.npz

    Example: rnnexport export model.keras --out exported/model
    """
    from rnnexport.exporting.checkpoint import newest_checkpoints
    from rnnexport.exporting.class_names import read_class_names
    from rnnexport.exporting.export import export_with
    from rnnexport.exporting.source_files import file_kind
    from rnnexport.exporting.user_code import load_module
    from rnnexport.report.bundle import bundle_tables

    is_module = source is not None and file_kind(source) is None
    for flag, given, fits, what in (
        ("--weights", weights, is_module, "a module of your own"),
        ("--kwargs", kwargs, is_module, "a module of your own"),
        ("--cell", cell, source is None and checkpoint is None, "an export without a source"),
        ("--checkpoint", checkpoint, source is None, "an export without a source"),
    ):
        if given is not None and not fits:
            raise InputError(f"{flag} is for {what}; leave it out")
    if inputs_file is not None:
        say(f"--inputs is now --sample; say --sample {inputs_file}")
        options = replace(options, sample=inputs_file)
    names = read_class_names(class_names) if class_names is not None else ()
    options = replace(options, out=out, openvino=openvino == "openvino", cpp=openvino == "cpp")
    options = replace(options, class_names=names, on_note=say)
    if source is not None and not is_module:
        bundles = [export_with(source, options)]
    elif source is not None:
        bundles = [export_with(load_module(source, weights, _arguments(kwargs), say), options)]
    else:
        bundles = []
        checkpoints = [checkpoint] if checkpoint else newest_checkpoints(cell)
        for path in checkpoints:
            say(f"exporting {path}")
            target = out / path.name if out and len(checkpoints) > 1 else out
            bundles.append(export_with(path, replace(options, out=target)))
    print_result(
        [bundle.manifest for bundle in bundles],
        [table for bundle in bundles for table in bundle_tables(bundle)],
        as_json=json,
    )


def _arguments(text: str | None) -> dict[str, Any]:
    """Read `--kwargs`.

    Raises:
        InputError: It is no JSON object.
    """
    try:
        found = json_module.loads(text or "{}")
    except ValueError as exc:
        raise InputError(f"--kwargs {text!r} is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise InputError(f"--kwargs {text!r} is no JSON object; write it like '{{\"hidden\": 64}}'")
    return found
