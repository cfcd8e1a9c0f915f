"""`rnnexport drift`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.cli.options import BundlePath, Json
from rnnexport.cli.output import print_result, progress, tell_shadowed
from rnnexport.parity.options import DriftOptions


def drift(
    bundle: BundlePath,
    options: DriftOptions,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the error against the time step (.svg, .png).", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Follow each runtime's error along a very long series.

    The drift horizon is the step at which the error first passes the tolerance. The bundle keeps what was found as
    drift.json. Status 1 if an error grows without bound or a runtime fails, 3 if one that was named is not usable here.

    Example: rnnexport drift exported/gru --plot drift.svg
    """
    from rnnexport.parity.drift import drift_with
    from rnnexport.report.drift import drift_tables, plot_drift
    from rnnexport.report.figure_style import check_plotting

    if plot is not None:
        check_plotting(plot)
    tell_shadowed(options.runtimes)
    with progress(f"following {bundle}") as on_progress:
        report = drift_with(bundle, replace(options, on_progress=on_progress))
    if plot is not None:
        plot_drift(report, plot)
    print_result(report, drift_tables(report), as_json=json)
    raise typer.Exit(report.exit_status)
