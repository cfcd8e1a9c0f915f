"""`rnnexport tune`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import BundlePath, Json, Runtimes, Seed, numbers
from rnnexport.cli.output import print_result, progress, tell_shadowed


class PurposeChoice(StrEnum):
    """The values of `--for`."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    SIZE = "size"
    STREAMING = "streaming"


def tune(
    bundle: BundlePath,
    budget: Annotated[
        str,
        typer.Option(
            help="What it may cost: float32 (rounding only), max-error=1e-3 (of any output), or metric-drop=0.002 (of "
            "the task's metric)."
        ),
    ] = "float32",
    purpose: Annotated[
        PurposeChoice,
        typer.Option("--for", help="What is to be best: the latency of a call, of many series or of a chunk, or size."),
    ] = PurposeChoice.LATENCY,
    batch_size: Annotated[
        list[str] | None,
        typer.Option(
            help="Rows per call; one or several, like 1,4. Default: 1; throughput: 16,64.", show_default=False
        ),
    ] = None,
    time_steps: Annotated[
        list[str] | None,
        typer.Option(help="Steps per call; one or several. Default: 25; streaming: 1.", show_default=False),
    ] = None,
    runtime: Runtimes = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="Real inputs, a .npz with one array for each: to calibrate and to judge.", show_default=False
        ),
    ] = None,
    static_shapes: Annotated[
        bool,
        typer.Option(
            "--static-shapes",
            help="Calls are of few sizes: let OpenVINO compile the graph for each, which delays the first of a size.",
        ),
    ] = False,
    time_limit: Annotated[
        float,
        typer.Option(
            min=1, help="Seconds. What there is no time for is reported as not measured; --resume goes on with it."
        ),
    ] = 300.0,
    seconds: Annotated[float, typer.Option(min=0.05, help="How long each candidate of the last round is timed.")] = 2.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a search that was interrupted or ran out of time.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw speed against error into this .svg, .png or .pdf file.", show_default=False),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Find the fastest way to run a model on this machine within an error budget, and keep it as the bundle's plan.

    Tries runtimes, variants of the graph, weights of 8 and 4 bits and thread counts side by side; judges each by a
    float64 run of the source model. Writes plan.toml and the graph that it runs into the bundle, where
    `rnnexport.load` and `rnnexport predict` find it; for streaming, plan-step.toml.

    Status 1 where nothing holds the budget.

    Example: rnnexport tune exported/gru --budget metric-drop=0.002 --for latency --batch-size 1
    """
    if plot is not None:
        from rnnexport.report.figures import check_plotting

        check_plotting(plot)
    from rnnexport.report.tune import plot_tune, tune_tables
    from rnnexport.tuning.tune import tune as tune_bundle

    tell_shadowed(runtime or [])
    with progress(f"tuning {bundle}") as on_progress:
        report = tune_bundle(
            bundle,
            budget=budget,
            purpose=purpose.value,
            batch_sizes=numbers("--batch-size", batch_size or []),
            time_steps=numbers("--time-steps", time_steps or []),
            runtimes=runtime or [],
            inputs=inputs,
            static_shapes=static_shapes,
            time_limit_seconds=time_limit,
            seconds=seconds,
            resume=resume,
            seed=seed,
            on_progress=on_progress,
        )
    if plot is not None:
        plot_tune(report, plot)
    print_result(report, tune_tables(report), as_json=json)
    raise typer.Exit(report.exit_status)
