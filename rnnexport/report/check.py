"""What a check found, for people: tables on a terminal, Markdown in a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from rnnexport.checking.results import CheckedModel, CheckReport, OutcomeKind
from rnnexport.report.fitting import printable
from rnnexport.report.parity import fault_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS: dict[OutcomeKind, str] = {"passed": "green", "failed": "red", "unavailable": "yellow", "not judged": "yellow"}
_MARKS: dict[OutcomeKind, str] = {"passed": "✅", "failed": "❌", "unavailable": "⚠️", "not judged": "❔"}


def check_tables(report: CheckReport) -> list[RenderableType]:
    """A table of outcomes for each model, what verify knows of its faults, and the verdict as the last line."""
    tables: list[RenderableType] = []
    for model in report.models:
        tables += [_outcomes(model), *(Text(line, style="red") for line in _faults(model))]
    return [*tables, Text(report.verdict, style="green" if report.passed else "red")]


def _outcomes(model: CheckedModel) -> Table:
    table = Table("step", "what", "verdict", "found", title=f"{model.name}: {model.source}", title_justify="left")
    for outcome in model.outcomes:
        verdict = Text("FAIL" if outcome.kind == "failed" else outcome.kind, style=_COLOURS[outcome.kind])
        table.add_row(outcome.step, outcome.subject, verdict, outcome.message)
    return table


def _faults(model: CheckedModel) -> list[str]:
    if model.parity is None:
        return []
    return [line for runtime in model.parity.runtimes for line in fault_lines(model.parity, runtime)]


def check_summary(report: CheckReport) -> str:
    """The verdict, what failed, and what else was found, as Markdown."""
    lines = [f"## {'✅' if report.passed else '❌'} rnnexport check {report.verdict}", ""]
    shown = [*report.failed, *report.unavailable]
    if shown:
        lines += ["| model | step | what | found |", "|---|---|---|---|"]
        lines += [
            f"| {_cell(model.name)} | {_MARKS[outcome.kind]} {outcome.step} | {_cell(outcome.subject)} | "
            f"{_cell(outcome.message)} |"
            for model, outcome in shown
        ]
        lines.append("")
    for model in report.models:
        count = len(model.outcomes)
        lines += [f"<details><summary>{_cell(model.name)}: {count} outcome{'s' * (count != 1)}</summary>", ""]
        lines += ["| step | what | verdict | found |", "|---|---|---|---|"]
        lines += [
            f"| {outcome.step} | {_cell(outcome.subject)} | {_MARKS[outcome.kind]} {outcome.kind} | "
            f"{_cell(outcome.message)} |"
            for outcome in model.outcomes
        ]
        lines += ["", "</details>", ""]
    versions = ", ".join(f"{tool} {version}" for tool, version in report.versions.items())
    return "\n".join([*lines, f"{_cell(report.machine['cpu'])}, {report.machine['cores']} cores; {versions}", ""])


def _cell(text: str) -> str:
    """Text that is no markup, on one line."""
    plain = printable(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{character}" if character in "\\|`*_[]" else character for character in plain)
