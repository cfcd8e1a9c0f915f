"""Tables of what lint found, and its SARIF form for code review tools."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from rnnexport.linting.lint import LintReport

_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def lint_tables(report: LintReport) -> list[Table]:
    """The findings, and the proof of the repair where there is one."""
    findings = Table("rule", "where", "what", "consequence", "repair", title=report.path, title_justify="left")
    for finding in report.findings:
        colour = _COLOURS[finding.severity]
        findings.add_row(
            f"[{colour}]{finding.rule}[/]",
            finding.where,
            finding.what.replace("[", r"\["),
            "\n".join(f"{runtime}: {text}" for runtime, text in finding.consequences.items()),
            "--fix" if finding.repairable else "-",
        )
    if not report.findings:
        findings.title = f"{report.path}: nothing is wrong"
    return [findings, *([_proof(report)] if report.proof else [])]


def _proof(report: LintReport) -> Table:
    table = Table("runtime", "calls", "error before", "error after", title=f"{report.repaired}", title_justify="left")
    for row in report.proof:
        shown = ["does not run" if error is None else f"{error:.2g}" for error in (row.before, row.after)]
        table.add_row(row.runtime, str(row.calls), *shown)
    return table


def sarif(report: LintReport) -> dict[str, Any]:
    """The findings as a SARIF 2.1.0 log."""
    rules = {finding.rule: finding.title for finding in report.findings}
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "rnnexport",
                        "rules": [{"id": name, "shortDescription": {"text": title}} for name, title in rules.items()],
                    }
                },
                "results": [
                    {
                        "ruleId": finding.rule,
                        "level": finding.severity,
                        "message": {"text": f"{finding.where}: {finding.what}"},
                        "locations": [
                            {
                                "physicalLocation": {"artifactLocation": {"uri": report.path}},
                                "logicalLocations": [{"fullyQualifiedName": finding.where}],
                            }
                        ],
                    }
                    for finding in report.findings
                ],
            }
        ],
    }
