"""The example notebook runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.pages import Page, faults

NOTEBOOK = Path(__file__).parents[2] / "docs/tutorial/notebook.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the kernel's own libraries
def test_ten_cells_lead_from_a_module_to_a_plan(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) == 10
    assert not any(cell.outputs for cell in cells)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.get("data", {}) for cell in cells for output in cell.outputs]
    tables = [Page(data["text/html"]) for data in shown if "text/html" in data]
    assert len(tables) == 6
    assert any("pass" in table.text for table in tables)
    assert any("plan for latency" in table.text or "the baseline" in table.text for table in tables)
    lines = [data["text/plain"] for data in shown if data.get("text/plain", "").startswith(("verify: ", "tune: "))]
    assert len(lines) == 2  # what was done, and at last how long it took
    assert (tmp_path / "tagger/plan.toml").is_file()
    assert faults((tmp_path / "report.html").read_text(encoding="utf-8")) == []
