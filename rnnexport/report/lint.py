"""Tables of what lint found."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from rnnexport.linting.loading import LOADS
from rnnexport.linting.results import Finding, LintReport

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
_ROWS_PER_RULE = 3
"""Beyond, places of one rule are counted."""


def lint_tables(report: LintReport) -> list[RenderableType]:
    """The findings by rule, the proof of the repair where there is one, and what was looked at."""
    findings = Table("rule", "where", "what", "consequence", "repair", title=report.path, title_justify="left")
    for _, group in groupby(report.findings, key=lambda finding: finding.rule):
        found = list(group)
        for number, finding in enumerate(found[:_ROWS_PER_RULE]):
            _add_row(findings, finding, first=number == 0)
        if others := found[_ROWS_PER_RULE:]:
            findings.add_row("", f"and {len(others)} more", "", "", "")
    tables: list[RenderableType] = [findings] if report.findings else []
    return [*tables, *([_proof(report)] if report.proof else []), _scope(report)]


def _add_row(table: Table, finding: Finding, *, first: bool) -> None:
    consequences = "\n".join(f"{runtime}: {text}" for runtime, text in finding.consequences.items())
    table.add_row(
        Text(finding.rule if first else "", style=_COLOURS[finding.severity]),
        finding.where,
        finding.what,
        consequences if first else "as above",
        "--fix" if finding.repairable else "-",
    )


def _scope(report: LintReport) -> str:
    """What the answer rests on, so that silence is not taken for a proof."""
    count = len(report.findings)
    found = f"found {count} {'place' if count == 1 else 'places'}" if count else "found nothing"
    layers = f"recurrent layers recognised: {report.layers or 'none'}"
    refused = [finding.where for finding in report.findings if finding.rule == LOADS]
    loads = f"does not load in {' and '.join(refused)}" if refused else "loads in every runtime"
    text = f"{report.path}: {report.rules} rules {found}; {layers}; {loads}"
    if report.unknown_operators:
        text += f"; not looked into: {', '.join(report.unknown_operators)}"
    text += ". Numbers were not compared; `rnnexport export` and `rnnexport verify` do that."
    if report.findings and report.keras_exporter:
        text += (
            f" {report.keras_exporter} wrote the file: `rnnexport export model.keras` (or model.h5) takes the "
            "Keras model itself, with fused operators, any number of time steps, and exact masks."
        )
    return text


def _proof(report: LintReport) -> Table:
    table = Table("runtime", "calls", "error before", "error after", title=f"{report.repaired}", title_justify="left")
    for row in report.proof:
        shown = ["does not run" if error is None else f"{error:.2g}" for error in (row.before, row.after)]
        table.add_row(row.runtime, str(row.calls), *shown)
    return table
