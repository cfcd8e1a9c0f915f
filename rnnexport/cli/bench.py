"""`rnnexport bench`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnexport.cli.options import Json, Runtimes, Seed, numbers, one_number, share
from rnnexport.cli.output import print_result, progress, tell_shadowed
from rnnexport.errors import InputError


class ShapesChoice(StrEnum):
    """The values of `--shapes`."""

    DEEPBENCH = "deepbench"


class ScenarioChoice(StrEnum):
    """The values of `--scenario`."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    STREAMING = "streaming"
    SERVER = "server"
    MIX = "mix"


_SWEEP = {"shapes", "all_shapes", "hidden_size", "cell", "out", "resume"}
_OPTIONS = {
    "latency": _SWEEP
    | {"batch_size", "time_steps", "repetitions", "compare", "against", "fail_over", "roofline", "profile", "plot"},
    "throughput": {"time_steps", "repetitions", "plot"},
    "streaming": {"time_steps", "rate"},
    "server": {"time_steps", "rate", "p99_limit", "max_batch_size", "max_wait"},
    "mix": {"batch_size", "repetitions", "lengths"},
}
"""What each scenario takes beside what all do."""


def bench(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(help="Exported folders. Default: the two reference bundles.", show_default=False),
    ] = None,
    scenario: Annotated[ScenarioChoice, typer.Option(help="The kind of load.")] = ScenarioChoice.LATENCY,
    runtime: Runtimes = None,
    batch_size: Annotated[
        list[str] | None, typer.Option(help="Rows per call; one or several, like 1,4,16. Default: 1.")
    ] = None,
    time_steps: Annotated[
        list[str] | None,
        typer.Option(help="Steps per series, or of a chunk; one or several. Default: 25; streaming: 1."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each row is measured, after its warm-up.")] = 3.0,
    repetitions: Annotated[
        int | None, typer.Option(min=1, help="Fresh processes for each row. Default: 2.", show_default=False)
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="latency: an earlier bench.json or --json output to compare with.", show_default=False),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="latency: a runtime or bundle that the others are compared with.", show_default=False),
    ] = None,
    fail_over: Annotated[
        str | None,
        typer.Option(
            help="latency: status 1 where a compared row is slower by more than this. "
            "Default: 5% with --compare, none with --against.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-3, help="streaming: steps per second; server: requests per second.", show_default=False),
    ] = None,
    p99_limit: Annotated[
        float | None,
        typer.Option(min=1e-3, help="server: milliseconds; the highest rate that holds it is searched."),
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(min=1, help="server: requests that may share a call. Default: 1.")
    ] = None,
    max_wait: Annotated[
        float | None, typer.Option(min=0, help="server: milliseconds a request waits for others. Default: 0.")
    ] = None,
    lengths: Annotated[
        Path | None,
        typer.Option(help="mix: a file of time steps to draw from. Default: those of the bundle's own series."),
    ] = None,
    shapes: Annotated[
        ShapesChoice | None,
        typer.Option(help="latency: bare layers of these shapes, beside PyTorch and its exporter.", show_default=False),
    ] = None,
    all_shapes: Annotated[
        bool | None, typer.Option("--all-shapes", help="All of --shapes, not the quick part.", show_default=False)
    ] = None,
    hidden_size: Annotated[
        list[str] | None,
        typer.Option(help="latency: bare layers of these sizes, beside PyTorch and its exporter.", show_default=False),
    ] = None,
    cell: Annotated[
        list[str] | None, typer.Option(help="With --hidden-size: lstm, gru or both. Default: both.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Of --shapes and --hidden-size: the file of results. Default: bench-sweep.jsonl."),
    ] = None,
    resume: Annotated[
        bool | None, typer.Option("--resume", help="Go on with --out where it ended.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="latency, throughput: draw the rows into this .svg, .png or .pdf file.")
    ] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds after which a call counts as hanging.")] = 600.0,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Set each latency beside what this machine can do; takes 10 seconds.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where the time goes, by layer and node, by each runtime's profiler.")
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure latency, throughput or a load of another kind, of right answers only.

    Each runtime runs in processes of its own, whose windows of calls take turns. What the timed calls return is
    compared with a float64 run of the source model.

    Compared rows are faster, slower, equivalent, or nobody can tell: each of the first three needs evidence.

    Status 1 if an answer is wrong or a compared row is slower beyond --fail-over, 3 if a runtime that was named is not
    usable here.

    Example: rnnexport bench exported/gru --runtime ort-cpu --batch-size 1,16
    """
    given = {
        "batch_size": batch_size,
        "time_steps": time_steps,
        "repetitions": repetitions,
        "compare": compare,
        "against": against,
        "fail_over": fail_over,
        "roofline": roofline or None,
        "profile": profile or None,
        "rate": rate,
        "p99_limit": p99_limit,
        "max_batch_size": max_batch_size,
        "max_wait": max_wait,
        "lengths": lengths,
        "shapes": shapes,
        "all_shapes": all_shapes,
        "hidden_size": hidden_size,
        "cell": cell,
        "out": out,
        "resume": resume,
        "plot": plot,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if surplus := sorted(options.keys() - _OPTIONS[scenario]):
        takes = ", ".join(sorted(map(_flag, _OPTIONS[scenario])))
        raise InputError(f"{_flag(surplus[0])} is no option of --scenario {scenario}, which takes: {takes}")
    if plot is not None:
        from rnnexport.report.figures import check_plotting
        from rnnexport.report.plots import plot_latency

        check_plotting(plot)
        del options["plot"]
    common = {"seconds": seconds, "seed": seed, "time_limit_seconds": time_limit}
    tell_shadowed(runtime or ())
    with progress("measuring") as on_progress:
        report, tables = _measure(scenario, bundles or [], runtime or [], options, common, on_progress)
    print_result(report, tables, as_json=json)
    if plot is not None:
        plot_latency(report, plot)
    raise typer.Exit(report.exit_status)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _measure(
    scenario: str,
    bundles: list[Path],
    runtimes: list[str],
    options: dict[str, Any],
    common: dict[str, Any],
    on_progress: Callable[[str], None],
) -> tuple[Any, Any]:
    """The report, and its tables."""
    from rnnexport.report.analysis import analysis_tables
    from rnnexport.report.latency import latency_tables
    from rnnexport.report.scenarios import scenario_tables

    report: Any
    if options.keys() & _SWEEP:
        from rnnexport.cli.sweeping import run_sweep

        report = run_sweep(bundles, runtimes, options, common, on_progress)
        return report, [*latency_tables(report), *analysis_tables(report.analysis)]
    if scenario == "latency":
        from rnnexport.benchmark.benchmark import bench as bench_bundles

        report = bench_bundles(bundles, runtimes, **_latency_options(options), **common, on_progress=on_progress)
        return report, [*latency_tables(report), *analysis_tables(report.analysis)]
    if "time_steps" in options:
        options["time_steps"] = one_number("--time-steps", options["time_steps"])
    if "batch_size" in options:
        options["batch_size"] = one_number("--batch-size", options["batch_size"])
    if scenario == "throughput":
        from rnnexport.benchmark.throughput import throughput

        report = throughput(bundles, runtimes, **options, **common, on_progress=on_progress)
        return report, latency_tables(report)
    from rnnexport.benchmark.scenarios import run_scenario

    report = run_scenario(_scenario(scenario, options | common), bundles, runtimes, on_progress=on_progress)
    return report, scenario_tables(report)


def _latency_options(options: dict[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {
        key: options[key] for key in ("repetitions", "against", "roofline", "profile") if key in options
    }
    if "batch_size" in options:
        renamed["batch_sizes"] = numbers("--batch-size", options["batch_size"])
    if "time_steps" in options:
        renamed["time_steps"] = numbers("--time-steps", options["time_steps"])
    if "compare" in options or "fail_over" in options:
        renamed["compare_with"] = options.get("compare")
        renamed["fail_over"] = share("--fail-over", options.get("fail_over", "5%"))
    return renamed


def _scenario(name: str, settings: dict[str, Any]) -> Any:
    if name == "streaming":
        from rnnexport.benchmark.streaming import Streaming

        return Streaming(**settings)
    if name == "server":
        from rnnexport.benchmark.server import Server

        milliseconds = {f"{key}_ms": settings.pop(key) for key in ("p99_limit", "max_wait") if key in settings}
        return Server(**settings, **milliseconds)
    from rnnexport.benchmark.mix import Mix, read_lengths

    if "lengths" in settings:
        settings["lengths"] = read_lengths(settings["lengths"])
    return Mix(**settings)
