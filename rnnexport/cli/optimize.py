"""`rnnexport optimize`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, progress


class LoweringChoice(StrEnum):
    """The values of `--lowering`."""

    FUSED = "fused"
    SCAN = "scan"
    UNROLLED = "unrolled"


class WeightsChoice(StrEnum):
    """The values of `--weights`."""

    FLOAT32 = "float32"
    INT8 = "int8"
    INT4 = "int4"


class ProductChoice(StrEnum):
    """The values of `--product`."""

    AUTO = "auto"
    MATMULNBITS = "matmulnbits"
    DYNAMIC = "dynamic"
    DEQUANTIZE = "dequantize"


class ProjectionChoice(StrEnum):
    """The values of `--input-projection`."""

    FLOAT32 = "float32"
    SAME = "same"
    DYNAMIC = "dynamic"


def optimize(
    model: Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the rewritten copy goes.", show_default=False)],
    lowering: Annotated[
        LoweringChoice,
        typer.Option(
            help="How layers are written: fused keeps the operator, scan is a loop over time, unrolled one step after "
            "the other, for a fixed number of them."
        ),
    ] = LoweringChoice.SCAN,
    weights: Annotated[WeightsChoice, typer.Option(help="The recurrent weights.")] = WeightsChoice.FLOAT32,
    weights8: Annotated[
        bool, typer.Option("--weights8", help="With fused and float32: store weights in 8 bits; a smaller file only.")
    ] = False,
    product: Annotated[
        ProductChoice, typer.Option(help="The operator for the product with int8 or int4 weights.")
    ] = ProductChoice.AUTO,
    input_projection: Annotated[
        ProjectionChoice,
        typer.Option(
            help="The product with the layers' inputs: float32, the same as with the recurrent weights, or int8 by the "
            "dynamic operator."
        ),
    ] = ProjectionChoice.FLOAT32,
    block_size: Annotated[
        int | None,
        typer.Option(
            help="Weights that share a scale in matmulnbits, a power of two from 16. Default: 128.", show_default=False
        ),
    ] = None,
    time_steps: Annotated[
        int | None, typer.Option(help="Fix the number of time steps, for unrolled, or 1 for fused.", show_default=False)
    ] = None,
    keep_float32: Annotated[
        list[str] | None,
        typer.Option(
            help="A layer, by its node's name, whose weights stay float32; LAYER:cell (LSTM) or LAYER:new (GRU) for "
            "that gate only. Repeat it.",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Real inputs, a .npz with one array for each: int8 and int4 then err less.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write the LSTM and GRU nodes of an ONNX file in another form, and say what that costs in error.

    The file is not changed. Nodes that cannot be rewritten are left as they are and named.

    Example: rnnexport optimize model.onnx --lowering scan --weights int8 -o fast.onnx

    Example: rnnexport optimize step.onnx --lowering unrolled --time-steps 1 --weights int8 -o fast_step.onnx
    """
    from rnnexport.optimizing.optimize import optimize as optimize_file
    from rnnexport.optimizing.rewrite import Rewrite
    from rnnexport.report.optimize import optimize_tables

    rewrite = Rewrite(
        lowering=lowering.value,
        weights=weights.value,
        weights8=weights8,
        product=product.value,
        input_projection=input_projection.value,
        block_size=block_size,
        time_steps=time_steps,
        keep_float32=keep_float32 or (),
    )
    with progress(f"rewriting {model}") as on_progress:
        report = optimize_file(model, out, rewrite, calibration=calibration, on_progress=on_progress)
    print_result(report, optimize_tables(report), as_json=json)
