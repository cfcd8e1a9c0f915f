"""`rnnexport export`."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, say


class LengthsChoice(StrEnum):
    """The values of `--lengths`."""

    EXACT = "exact"
    SEQUENCE_LENS = "sequence-lens"
    NONE = "none"


class FormatChoice(StrEnum):
    """The values of `--format`."""

    ONNX = "onnx"
    OPENVINO = "openvino"


def export(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A module of your own, as my_package.models:TaggerNet, an ONNX file, or a Keras model, .keras or .h5. "
            "Default: what `rnnexport train` made.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The module's weights, a .safetensors file.", show_default=False)
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="An input of the module's forward: name:dtype[dimensions], where a word is a dynamic dimension. "
            "Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--inputs", help="Real inputs for an ONNX file: a .npz with one array for each.", show_default=False
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            help="lstm, gru or gru-reset-before: take its newest checkpoint. Default: both lstm and gru.",
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
    lengths: Annotated[
        LengthsChoice,
        typer.Option(
            help="How padded batches stay right: exact in every runtime, or by the operator's own sequence_lens input, "
            "which OpenVINO ignores with dynamic shapes, or none: every row is as long as the batch."
        ),
    ] = LengthsChoice.EXACT,
    opset: Annotated[int | None, typer.Option(help="ONNX operator set version.", show_default=False)] = None,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming", help="Write step.onnx, too: chunks of a series and the states in, the new states out."
        ),
    ] = False,
    format_: Annotated[
        FormatChoice, typer.Option("--format", help="openvino: write OpenVINO's own format beside the ONNX file.")
    ] = FormatChoice.ONNX,
    compress: Annotated[
        bool, typer.Option("--compress", help="Store the weights of OpenVINO's format as float16.")
    ] = False,
    stateful: Annotated[
        bool, typer.Option("--stateful", help="Keep the states inside OpenVINO's step graph; reset_state clears them.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a model as an ONNX bundle.

    Example: rnnexport export --cell gru --out exported/gru

    Example: rnnexport export my_package.models:TaggerNet --weights tagger.safetensors --input tokens:int64[batch,time]

    Example: rnnexport export recognizer.onnx --inputs sample.npz

    Example: rnnexport export model.keras --out exported/model
    """
    from rnnexport.exporting.checkpoint import newest_checkpoints
    from rnnexport.exporting.export import export as export_source
    from rnnexport.exporting.user_code import load_module
    from rnnexport.keras_files.archive import is_keras_file
    from rnnexport.report.bundle import bundle_tables

    write = partial(
        export_source,
        inputs=input_ or (),
        lengths=lengths.value,
        opset_version=opset,
        streaming=streaming,
        openvino=format_ is FormatChoice.OPENVINO,
        compress=compress,
        stateful=stateful,
        on_note=say,
    )
    if source is not None and source.endswith(".onnx"):
        bundles = [write(source, out, sample=sample)]
    elif source is not None and is_keras_file(Path(source)):
        bundles = [write(source, out)]
    elif source is not None:
        bundles = [write(load_module(source, weights), out)]
    else:
        bundles = []
        checkpoints = [checkpoint] if checkpoint else newest_checkpoints(cell)
        for path in checkpoints:
            say(f"exporting {path}")
            target = out / path.name if out and len(checkpoints) > 1 else out
            bundles.append(write(path, target))
    print_result(
        [bundle.manifest for bundle in bundles],
        [table for bundle in bundles for table in bundle_tables(bundle)],
        as_json=json,
    )
