"""`rnnexport optimize`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, progress, say
from rnnexport.optimizing.options import Kernel, Rewrite


def optimize(
    model: Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the rewritten copy goes.", show_default=False)],
    rewrite: Rewrite,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Real inputs, a .npz with one array for each: int8 and int4 then err less.", show_default=False
        ),
    ] = None,
    product: Annotated[Kernel | None, typer.Option(hidden=True)] = None,
    weights8: Annotated[bool, typer.Option("--weights8", hidden=True)] = False,
    json: Json = False,
) -> None:
    """Write the LSTM and GRU nodes of an ONNX file as another graph variant, and say what that costs.

    The file is not changed. Nodes that cannot be rewritten are left as they are and named.

    Example: rnnexport optimize model.onnx --lowering scan --weights int8 -o fast.onnx

    Example: rnnexport optimize step.onnx --lowering unrolled --time-steps 1 --weights int8 -o fast_step.onnx
    """
    from rnnexport.optimizing.optimize import optimize as optimize_file
    from rnnexport.report.optimize import optimize_tables

    if product is not None:
        say(f"--product is now --matmul-kernel; say --matmul-kernel {product}")
        rewrite = replace(rewrite, matmul_kernel=product)
    if weights8:
        say("--weights8 is now --weight-only-int8")
        rewrite = replace(rewrite, weight_only_int8=True)
    with progress(f"rewriting {model}") as on_progress:
        report = optimize_file(model, out, rewrite, calibration=calibration, on_progress=on_progress)
    print_result(report, optimize_tables(report), as_json=json)
