"""`rnnexport runtimes`."""

from __future__ import annotations

from rnnexport.cli.options import Json
from rnnexport.cli.output import print_result, progress


def runtimes(json: Json = False) -> None:
    """List the runtimes and whether each is usable on this machine.

    A runtime is an inference library with device, precision and options: one file in runtimes/.

    Example: rnnexport runtimes
    """
    from rnnexport.report.runtimes import runtimes_table
    from rnnexport.runtime.definitions import list_definitions, runtime_status

    with progress("asking the inference libraries"):
        statuses = [runtime_status(definition) for definition in list_definitions()]
    print_result(statuses, [runtimes_table(statuses)], as_json=json)
