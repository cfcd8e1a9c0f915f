"""`rnnexport verify`."""

from __future__ import annotations

import typer

from rnnexport.cli.options import BundlePaths, Json, Runtimes, Seed
from rnnexport.cli.output import print_result, progress, tell_shadowed


def verify(bundles: BundlePaths, runtime: Runtimes = None, seed: Seed = 0, json: Json = False) -> None:
    """Prove that every runtime computes the model that was trained.

    Each runtime runs in a process of its own and is judged against a float64 run of the source model. Status 1 if a
    runtime fails, 3 if one that was named is not usable here.

    Example: rnnexport verify exported/gru --runtime ort-cpu --runtime openvino-cpu
    """
    from rnnexport.parity.verify import verify as verify_bundle
    from rnnexport.report.parity import parity_tables

    tell_shadowed(runtime or ())
    reports = []
    for bundle in bundles:
        with progress(f"verifying {bundle}") as on_progress:
            reports.append(verify_bundle(bundle, runtime or (), seed=seed, on_progress=on_progress))
    print_result(
        [*reports] if len(reports) > 1 else reports[0],
        [table for report in reports for table in parity_tables(report)],
        as_json=json,
    )
    raise typer.Exit(max((report.exit_status for report in reports), key=[0, 3, 1].index))
