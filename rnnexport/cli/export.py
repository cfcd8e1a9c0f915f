"""`rnnexport export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, say


def export(
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
            help="Folder of the bundle. Default: exported/CELL. With both cells: OUT/CELL.", show_default=False
        ),
    ] = None,
    opset: Annotated[int | None, typer.Option(help="ONNX operator set version.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Write a trained model as an ONNX bundle.

    Example: rnnexport export --cell gru --out exported/gru
    """
    from rnnexport.exporting import export as export_checkpoint
    from rnnexport.exporting import newest_checkpoints
    from rnnexport.models import load_description
    from rnnexport.report.bundle import bundle_tables

    bundles = []
    checkpoints = [checkpoint] if checkpoint else newest_checkpoints(cell)
    for path in checkpoints:
        description = load_description(path / "model.json")
        say(f"exporting {path} (task {description.task}, cell {description.config.cell})")
        target = out / description.config.cell if out and len(checkpoints) > 1 else out
        bundles.append(export_checkpoint(path, target, opset_version=opset))
    manifests = [bundle.manifest for bundle in bundles]
    print_result(manifests, [table for bundle in bundles for table in bundle_tables(bundle)], as_json=json)
