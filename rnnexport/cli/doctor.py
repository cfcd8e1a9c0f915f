"""`rnnexport doctor`."""

from __future__ import annotations

import typer

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, progress


def doctor(json: Json = False) -> None:
    """Say what this machine and this installation are, and what is known to go wrong with them.

    The text is made to be pasted into an issue; it holds no names of people, hosts or folders.

    Status 1 where something does not work.

    Example: rnnexport doctor
    """
    from rnnexport.environment.doctor import examine
    from rnnexport.report.doctor import doctor_text

    with progress("looking"):
        report = examine()
    print_result(report, [doctor_text(report)], as_json=json)
    raise typer.Exit(report.exit_status)
