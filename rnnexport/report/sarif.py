"""What lint and check found as SARIF 2.1.0 logs, which code review tools show beside the files.

A result names a file and, in it, a node of the graph; an ONNX file has no lines, so that its first one stands for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rnnexport.checking.results import CheckedModel, CheckReport, StepOutcome
from rnnexport.linting.results import LintReport
from rnnexport.versions import tool_versions

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
_STEPS = {
    "export": "a bundle cannot be made or is not whole",
    "lint": "an ONNX file cannot be checked",
    "verify": "a runtime does not compute the model",
    "bench": "a runtime is slower than it was, or gives no figure",
    "limits": "a limit of size, latency or memory is exceeded",
    "baseline": "the model is not what its baseline is",
}
"""What is wrong where a step of a check failed."""


def lint_log(reports: Sequence[LintReport]) -> dict[str, Any]:
    """The findings of files."""
    titles = {finding.rule: finding.title for report in reports for finding in report.findings}
    return _log([result for report in reports for result in _findings(report)], titles)


def check_log(report: CheckReport) -> dict[str, Any]:
    """The findings of lint, and whatever else failed in any step, of all models."""
    linted = [one for model in report.models for one in model.lint]
    failed = [(model, outcome) for model, outcome in report.failed if not _is_finding(model, outcome)]
    titles = {finding.rule: finding.title for one in linted for finding in one.findings}
    titles |= {outcome.step: _STEPS[outcome.step] for _, outcome in failed}
    results = [result for one in linted for result in _findings(one)]
    return _log([*results, *(_failure(model, outcome) for model, outcome in failed)], titles)


def _is_finding(model: CheckedModel, outcome: StepOutcome) -> bool:
    """Whether an outcome is a finding of a rule, which is told with its severity and place."""
    return outcome.step == "lint" and outcome.subject in {each.rule for one in model.lint for each in one.findings}


def _findings(report: LintReport) -> Iterator[dict[str, Any]]:
    for finding in report.findings:
        text = f"{finding.where}: {finding.what}"
        yield _result(finding.rule, finding.severity, text, Path(report.path), finding.where)


def _failure(model: CheckedModel, outcome: StepOutcome) -> dict[str, Any]:
    path = Path(model.source) if model.bundle is None else Path(model.bundle) / "model.onnx"
    text = f"{model.name}: {outcome.subject}: {outcome.message}"
    return _result(outcome.step, "error", text, path, outcome.subject)


def _result(rule: str, level: str, text: str, path: Path, where: str) -> dict[str, Any]:
    location = {"artifactLocation": {"uri": _uri(path)}, "region": {"startLine": 1}}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": location, "logicalLocations": [{"fullyQualifiedName": where}]}],
    }


def _uri(path: Path) -> str:
    """A URI that is relative where the file lies below the working directory, as review tools want it."""
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _log(results: Any, titles: dict[str, str]) -> dict[str, Any]:
    driver = {
        "name": "rnnexport",
        "version": tool_versions().get("rnnexport", "0"),
        "rules": [{"id": name, "shortDescription": {"text": title}} for name, title in titles.items()],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": [*results]}]}
