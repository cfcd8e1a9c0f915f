"""`rnnexport bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import Json, Runtimes, Seed, numbers, share
from rnnexport.cli.output import print_result, progress, tell_shadowed


def bench(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(help="Exported folders. Default: the two reference bundles.", show_default=False),
    ] = None,
    runtime: Runtimes = None,
    batch_size: Annotated[list[str], typer.Option(help="Rows per call; one or several, like 1,4,16.")] = ["1"],  # noqa: B006 - typer copies it
    time_steps: Annotated[list[str], typer.Option(help="Steps per series; one or several.")] = ["25"],  # noqa: B006 - typer copies it
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each row is measured, after its warm-up.")] = 3.0,
    repetitions: Annotated[int, typer.Option(min=1, help="Fresh processes for each row.")] = 2,
    compare: Annotated[
        Path | None, typer.Option(help="An earlier bench.json or --json output to compare with.", show_default=False)
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="A runtime or bundle that the others are compared with.", show_default=False),
    ] = None,
    fail_over: Annotated[
        str | None,
        typer.Option(
            help="Status 1 where a compared row is slower by more than this, like 5%. Default: 5% with --compare, "
            "any with --against.",
            show_default=False,
        ),
    ] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds after which a call counts as hanging.")] = 600.0,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure latency and throughput, of right answers only.

    Each runtime runs in processes of its own, whose windows of calls take turns. What the timed calls return is
    compared with a float64 run of the source model.

    Compared rows are faster, slower, equivalent, or nobody can tell: each of the first three needs evidence.

    Status 1 if an answer is wrong or a compared row is slower beyond --fail-over, 3 if a runtime that was named is not
    usable here.

    Example: rnnexport bench exported/gru --runtime ort-cpu --batch-size 1,16
    """
    from rnnexport.benchmark.benchmark import bench as bench_bundles
    from rnnexport.report.latency import latency_tables

    tell_shadowed(runtime or ())
    with progress("measuring") as on_progress:
        report = bench_bundles(
            bundles or (),
            runtime or (),
            batch_sizes=numbers("--batch-size", batch_size),
            time_steps=numbers("--time-steps", time_steps),
            seconds=seconds,
            repetitions=repetitions,
            compare_with=compare,
            against=against,
            fail_over=share("--fail-over", fail_over or "5%") if fail_over or compare else None,
            time_limit_seconds=time_limit,
            seed=seed,
            on_progress=on_progress,
        )
    print_result(report, latency_tables(report), as_json=json)
    raise typer.Exit(report.exit_status)
