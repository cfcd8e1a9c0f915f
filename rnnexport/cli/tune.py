"""`rnnexport tune`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import BundlePath, Json
from rnnexport.cli.output import print_result, progress, tell_shadowed
from rnnexport.tuning.options import TuneOptions


def tune(
    bundle: BundlePath,
    options: TuneOptions,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw speed against error into this .svg, .png or .pdf file.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Find the fastest way to run a model on this machine within an error budget, and keep it as the plan.

    Tries runtimes, variants of the graph, weights of 8 and 4 bits and thread counts side by side; judges each by a
    float64 run of the source model. Writes plan.toml and the graph that it runs into the bundle, where
    `rnnexport.load` and `rnnexport predict` find it; for streaming, plan-step.toml.

    Status 1 where nothing holds the budget.

    Example: rnnexport tune exported/gru --budget metric-drop=0.002 --for latency --batch-size 1
    """
    if plot is not None:
        from rnnexport.report.figure_style import check_plotting

        check_plotting(plot)
    from rnnexport.report.tune import plot_tune, tune_tables
    from rnnexport.tuning.tune import tune_with

    tell_shadowed(options.runtimes)
    with progress(f"tuning {bundle}") as on_progress:
        report = tune_with(bundle, replace(options, on_progress=on_progress))
    if plot is not None:
        plot_tune(report, plot)
    print_result(report, tune_tables(report), as_json=json)
    raise typer.Exit(report.exit_status)
