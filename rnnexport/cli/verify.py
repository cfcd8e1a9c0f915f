"""`rnnexport verify`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, progress, tell_shadowed
from rnnexport.parity.options import Limits, VerifyOptions

if TYPE_CHECKING:
    from rnnexport.parity.results import ParityReport


def verify(
    options: VerifyOptions,
    limits: Limits,
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Exported folders, such as exported/gru.", show_default=False)
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Judge an earlier parity.json again, by its raw outputs; run nothing.", show_default=False
        ),
    ] = None,
    atol: Annotated[
        float | None, typer.Option(min=0, help="With --from: absolute tolerance.", show_default=False)
    ] = None,
    rtol: Annotated[
        float | None, typer.Option(min=0, help="With --from: relative tolerance.", show_default=False)
    ] = None,
    memory_limit: Annotated[
        float | None, typer.Option(min=0, help="GiB for a runtime's process. Default: none.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Prove that every runtime computes the model that was trained.

    Each runtime runs in a process of its own and is judged against a float64 run of the source model; a crash, a hang
    or too much memory is its own verdict. Where one is wrong, the known fault that explains the numbers is named.
    Status 1 if a runtime fails, 3 if one that was named is not usable here.

    Example: rnnexport verify exported/gru --runtime ort-cpu --runtime openvino-cpu
    """
    from rnnexport.errors import InputError
    from rnnexport.parity.evidence import judge_again
    from rnnexport.parity.verify import verify_with
    from rnnexport.report.parity import parity_tables

    if (from_file is None) == (not bundles):
        raise InputError("name a bundle such as exported/gru, or an earlier result with --from; not both")
    if from_file is None and (atol is not None or rtol is not None):
        raise InputError("--atol and --rtol belong to --from; a bundle has its own tolerances in manifest.json")
    if from_file is not None:
        options.refuse_all_but((), "an earlier result, whose outputs are only judged again")
        limits.refuse_all_but((), "an earlier result, which runs nothing")
        if memory_limit is not None:
            raise InputError("--memory-limit is not for an earlier result, which runs nothing; leave it out")
    tell_shadowed(options.runtimes)
    if memory_limit is not None:
        limits = replace(limits, memory_limit_bytes=int(memory_limit * 2**30))
    reports: list[ParityReport] = [] if from_file is None else [judge_again(from_file, atol, rtol)]
    for bundle in bundles or ():
        with progress(f"verifying {bundle}") as on_progress:
            reports.append(verify_with(bundle, replace(options, limits=limits, on_progress=on_progress)))
    print_result(
        [*reports] if len(reports) > 1 else reports[0],
        [table for report in reports for table in parity_tables(report)],
        as_json=json,
    )
    raise typer.Exit(max((report.exit_status for report in reports), key=[0, 3, 1].index))
