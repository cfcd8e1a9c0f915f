"""`rnnexport bench`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rnnexport.benchmark.options import (
    BareLayerOptions,
    LatencyOptions,
    SweepOptions,
    ThroughputOptions,
)
from rnnexport.cli.commands import with_parameters
from rnnexport.cli.flags import flag_of
from rnnexport.cli.options import Json, Runtimes
from rnnexport.cli.output import print_result, progress, tell_shadowed
from rnnexport.cli.scenarios import LATENCY, LAYERS, chosen_scenario, options_of, parameters
from rnnexport.errors import InputError

ScenarioName = Literal["latency", "throughput", "streaming", "server", "mix"]


@with_parameters(parameters())
def bench(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(help="Exported folders. Default: the two reference bundles.", show_default=False),
    ] = None,
    scenario: Annotated[ScenarioName, typer.Option(help="The kind of load.")] = "latency",
    runtime: Runtimes = None,
    json: Json = False,
    **given: Any,
) -> None:
    """Measure latency, throughput or a load of another kind, of right answers only.

    Each runtime runs in processes of its own, whose windows of calls take turns. What the timed calls return is
    compared with a float64 run of the source model.

    Compared rows are faster, slower, equivalent, or nobody can tell: each of the first three needs evidence.

    Status 1 if an answer is wrong or a compared row is slower beyond --fail-over, 3 if a runtime that was named is not
    usable here.

    Example: rnnexport bench exported/gru --runtime ort-cpu --batch-size 1,16
    """
    flags = {str(flag_of("bench", name)): value for name, value in given.items() if value not in (None, [])}
    meant = chosen_scenario(scenario, flags)
    if bundles and meant == LAYERS:
        raise InputError(
            f"--shapes and --hidden-size measure layers of their own, not {str(bundles[0])!r}; leave it out"
        )
    plot: Path | None = given["plot"]
    if plot is not None:
        from rnnexport.report.figure_style import check_plotting

        check_plotting(plot)
    tell_shadowed(runtime or ())
    with progress("measuring") as on_progress:
        report, tables = _MEASURED[meant](bundles or [], runtime or [], flags, on_progress)
    print_result(report, tables, as_json=json)
    if plot is not None:
        from rnnexport.report.plots import plot_latency

        plot_latency(report, plot)
    raise typer.Exit(report.exit_status)


Given = Mapping[str, Any]
OnProgress = Callable[[str], None]


def _latency(bundles: list[Path], runtimes: list[str], given: Given, on_progress: OnProgress) -> Any:
    from rnnexport.benchmark.benchmark import bench_with

    if "--compare" in given:
        given = {"--fail-over": "5%", **given}
    options = options_of(LatencyOptions, given, bundles=bundles, runtimes=runtimes, on_progress=on_progress)
    return _with_tables(bench_with(options))


def _bare_layers(_: list[Path], runtimes: list[str], given: Given, on_progress: OnProgress) -> Any:
    from rnnexport.benchmark.sweep import layer_shapes, sweep_with

    shapes = layer_shapes(options_of(BareLayerOptions, given))
    return _with_tables(sweep_with(shapes, options_of(SweepOptions, given, runtimes=runtimes, on_progress=on_progress)))


def _with_tables(report: Any) -> Any:
    from rnnexport.report.analysis import bench_tables

    return report, bench_tables(report)


def _throughput(bundles: list[Path], runtimes: list[str], given: Given, on_progress: OnProgress) -> Any:
    from rnnexport.benchmark.throughput import throughput_with
    from rnnexport.report.latency import latency_tables

    options = options_of(ThroughputOptions, given, bundles=bundles, runtimes=runtimes, on_progress=on_progress)
    report = throughput_with(options)
    return report, latency_tables(report)


def _streaming(bundles: list[Path], runtimes: list[str], given: Given, on_progress: OnProgress) -> Any:
    from rnnexport.benchmark.streaming import Streaming

    return _scenario(options_of(Streaming, given), bundles, runtimes, on_progress)


def _server(bundles: list[Path], runtimes: list[str], given: Given, on_progress: OnProgress) -> Any:
    from rnnexport.benchmark.server import Server

    return _scenario(options_of(Server, given), bundles, runtimes, on_progress)


def _mix(bundles: list[Path], runtimes: list[str], given: Given, on_progress: OnProgress) -> Any:
    from rnnexport.benchmark.mix import Mix

    return _scenario(options_of(Mix, given), bundles, runtimes, on_progress)


def _scenario(scenario: Any, bundles: list[Path], runtimes: list[str], on_progress: OnProgress) -> Any:
    from rnnexport.benchmark.scenarios import run_scenario
    from rnnexport.report.scenarios import scenario_tables

    report = run_scenario(scenario, bundles, runtimes, on_progress=on_progress)
    return report, scenario_tables(report)


_MEASURED = {
    LATENCY: _latency,
    LAYERS: _bare_layers,
    "throughput": _throughput,
    "streaming": _streaming,
    "server": _server,
    "mix": _mix,
}
"""What measures each scenario, and gives the report and its tables."""
