"""What a check found, as files for other programs: JUnit XML, a SARIF log, a summary in Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from rnnexport.checking.results import CheckReport, StepOutcome
from rnnexport.files.whole_files import written_whole
from rnnexport.report.fitting import printable


def write_whole(path: Path, content: str | dict[str, Any]) -> None:
    """Write a text, or a document as JSON, whole or not at all; a file that is there is replaced.

    Raises:
        InputError: The disk refuses.
    """
    text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def junit_xml(report: CheckReport) -> str:
    """A suite for each model, a case for each outcome: what nobody could judge is skipped."""
    document = JUnitXml("rnnexport check")
    for model in report.models:
        suite = TestSuite(printable(model.name))
        for outcome in model.outcomes:
            suite.add_testcase(_case(model.name, outcome))
        document.add_testsuite(suite)
    document.update_statistics()
    document.time = report.seconds
    text: str = document.tostring().decode()
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n"


def _case(model: str, outcome: StepOutcome) -> TestCase:
    case = TestCase(printable(f"{outcome.step}: {outcome.subject}"), printable(model))
    message = printable(outcome.message)
    if outcome.kind == "passed":
        case.system_out = message
    else:
        kinds = {"failed": Failure, "unavailable": Error, "not judged": Skipped}
        case.result = [kinds[outcome.kind](message, outcome.step)]
    return case
