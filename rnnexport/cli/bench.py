"""`rnnexport bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json, Runtimes, Seed
from rnnexport.cli.output import print_result, progress, tell_shadowed


def bench(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(help="Exported folders. Default: the two reference bundles.", show_default=False),
    ] = None,
    runtime: Runtimes = None,
    batch_size: Annotated[list[int], typer.Option(min=1, help="Rows per call; repeat it for several.")] = [1],  # noqa: B006 - typer copies it
    time_steps: Annotated[list[int], typer.Option(min=1, help="Steps per series; repeat it for several.")] = [25],  # noqa: B006 - typer copies it
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each row is measured, after its warm-up.")] = 3.0,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Set each latency beside what this machine can do; takes 10 seconds.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where the time goes, by layer and node, by each runtime's profiler.")
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure latency and throughput, of right answers only.

    Each runtime runs in a process of its own; what the timed calls return is compared with a float64 run of the source
    model. Status 1 if an answer is wrong, or faster than --roofline holds possible; 3 if a runtime that was named is
    not usable here.

    Example: rnnexport bench exported/gru --runtime ort-cpu --batch-size 1 --batch-size 16
    """
    from rnnexport.benchmark.benchmark import bench as bench_bundles
    from rnnexport.report.analysis import analysis_tables
    from rnnexport.report.latency import latency_tables

    tell_shadowed(runtime or ())
    with progress("measuring") as on_progress:
        report = bench_bundles(
            bundles or (),
            runtime or (),
            batch_sizes=batch_size,
            time_steps=time_steps,
            seconds=seconds,
            seed=seed,
            roofline=roofline,
            profile=profile,
            on_progress=on_progress,
        )
    print_result(report, [*latency_tables(report), *analysis_tables(report.analysis)], as_json=json)
    raise typer.Exit(report.exit_status)
