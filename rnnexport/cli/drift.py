"""`rnnexport drift`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import BundlePath, Json, Runtimes, Seed
from rnnexport.cli.output import print_result, progress, tell_shadowed


def drift(
    bundle: BundlePath,
    runtime: Runtimes = None,
    steps: Annotated[int, typer.Option(min=1, help="Time steps of the series.")] = 100_000,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the error against the time step (.svg, .png).", show_default=False)
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Follow each runtime's error along a very long series.

    Without --runtime every usable one is followed, of every precision. The drift horizon is the
    step at which the error first passes the tolerance. Status 1 if an error grows without bound or a runtime fails, 3
    if one that was named is not usable here.

    Example: rnnexport drift exported/gru --plot drift.svg
    """
    from rnnexport.parity.drift import drift as follow
    from rnnexport.report.drift import drift_tables, plot_drift
    from rnnexport.report.figures import check_plotting

    if plot is not None:
        check_plotting(plot)
    tell_shadowed(runtime or ())
    with progress(f"following {bundle}") as on_progress:
        report = follow(bundle, runtime or (), steps=steps, seed=seed, on_progress=on_progress)
    if plot is not None:
        plot_drift(report, plot)
    print_result(report, drift_tables(report), as_json=json)
    raise typer.Exit(report.exit_status)
