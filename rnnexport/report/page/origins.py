"""Where the page's figures come from: machine, versions and commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnexport.report.page.collected import Collected
from rnnexport.report.plain_text import PlainTable


def machines(collected: Sequence[Collected]) -> PlainTable:
    """On which machine each file of evidence was made."""
    rows = [
        [each.name, evidence.name, *_machine(evidence.report)]
        for each in collected
        for evidence in each.all
        if evidence.report is not None
    ]
    known = [row for row in rows if row[2] != "-"]
    return PlainTable("Machine", ["bundle", "evidence", "processor", "cores", "instructions", "load"], known)


def _machine(report: Any) -> list[str]:
    if (machine := getattr(report, "machine", None)) is not None:
        return [machine.get("cpu", "-"), machine.get("cores", "-"), machine.get("features", "") or "-", "-"]
    if (conditions := getattr(report, "conditions", None)) is not None:
        return [conditions.machine, str(conditions.cores), "-", f"{conditions.load_average:.2f}"]
    return ["-"] * 4


def versions(collected: Collected) -> PlainTable:
    """The version of each tool when each file was made, so that a difference is seen."""
    columns = {"export": collected.bundle.manifest.versions}
    for evidence in collected.all:
        columns[evidence.name.removesuffix(".json")] = getattr(evidence.report, "versions", {})
    columns = {name: found for name, found in columns.items() if found}
    if len(columns) > 1 and all(found == collected.bundle.manifest.versions for found in columns.values()):
        columns = {"export and every command": collected.bundle.manifest.versions}
    tools = dict.fromkeys(tool for found in columns.values() for tool in found)
    rows = [[tool, *(found.get(tool, "-") for found in columns.values())] for tool in tools]
    return PlainTable(f"Versions, {collected.name}", ["tool", *columns], rows)


def commands(collected: Sequence[Collected]) -> list[tuple[str, str, str, str, str]]:
    """Bundle, file, time, state and command of every file of evidence."""
    return [
        (
            each.name,
            evidence.name,
            (evidence.made_at or "-").replace("T", " ").replace("+00:00", " UTC"),
            evidence.state,
            evidence.command or "-",
        )
        for each in collected
        for evidence in each.all
    ]
