"""The table of docs/results/silent-faults.md is about these faults, and rnnexport's columns are what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.silent_faults.faults import CONTROLS, FAULTS, Fault
from benchmarks.silent_faults.write_table import run

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/results/silent-faults.md"
TABLE = DOCUMENT.read_text(encoding="utf-8").partition("<!-- table: begin -->")[2]
ROWS = {name: row.split(" | ") for name, row in re.findall(r"^\| ([^|*]+) \| (.+) \|$", TABLE, re.MULTILINE)}


def test_the_documented_table_is_about_these_faults() -> None:
    names = [fault.name for fault in FAULTS] + [fault.name.removeprefix("control: ") for fault in CONTROLS]
    assert [name for name in ROWS if name not in ("fault", "nothing is wrong")] == names


def test_every_fault_is_caught_in_the_documented_table() -> None:
    assert {ROWS[fault.name][1] for fault in FAULTS} <= {"caught", "skipped"}


def test_nothing_that_is_right_is_blamed_by_us() -> None:
    assert {ROWS[control.name.removeprefix("control: ")][0] for control in CONTROLS} == {"passed"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_gets_the_documented_verdict(fault: Fault, tmp_path: Path) -> None:
    """In a process of its own, as for the table: `torch.onnx.export` remembers sizes of the export before."""
    verdict = run("rnnexport", fault, tmp_path / "bundle")
    if "named" not in verdict:
        pytest.skip(str(verdict["says"]))
    assert [verdict["verdict"], "yes" if verdict["named"] else "**no**"] == ROWS[fault.name][1:3]
