"""docs/results/conformance.md says what was found, and each minimal case still shows it."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from rnnexport.conformance import ConformanceReport
from rnnexport.report.conformance import conformance_markdown

DOCS = Path(__file__).resolve().parents[2] / "docs/results"
REPORT = ConformanceReport.model_validate_json((DOCS / "conformance" / "conformance.json").read_text(encoding="utf-8"))
CASES = [
    (runtime.definition.engine, finding.folder)
    for runtime in REPORT.runtimes
    for finding in runtime.findings
    if finding.folder
]


def test_the_document_has_the_tables_of_the_report():
    assert conformance_markdown(REPORT) in (DOCS / "conformance.md").read_text(encoding="utf-8")
    assert all(folder in (DOCS / "conformance.md").read_text(encoding="utf-8") for _, folder in CASES)


@pytest.mark.parametrize(("engine", "folder"), CASES)
def test_each_documented_case_still_differs(engine, folder):
    if (installed := version(engine)) != REPORT.versions[engine]:
        pytest.skip(f"made with {engine} {REPORT.versions[engine]}, this is {installed}: make the tables again")
    script = DOCS / "conformance" / folder / "reproduce.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (done.returncode, "DIFFERS" in done.stdout) == (1, True), done.stderr
