"""Table of the runtimes of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rnnexport.runtime.definitions import RuntimeStatus


def runtimes_table(statuses: Sequence[RuntimeStatus]) -> Table:
    """One row per runtime: usable or not, and what mends it."""
    table = Table(title="runtimes", title_justify="left")
    for heading in ("runtime", "engine", "version", "device", "precision", "threads", "usable"):
        table.add_column(heading, no_wrap=True)
    table.add_column("reason, and what mends it", overflow="fold")
    for status in statuses:
        definition, availability = status.definition, status.availability
        remedy = f"\nrun: {availability.remedy}" if availability.remedy else ""
        table.add_row(
            definition.name,
            definition.engine,
            availability.version or "-",
            definition.device,
            definition.precision,
            str(definition.threads or f"default ({availability.threads or 'the engine decides'})"),
            Text("yes", style="green") if availability.usable else Text("no", style="yellow"),
            "" if availability.usable else f"{availability.reason}{remedy}",
        )
    return table
