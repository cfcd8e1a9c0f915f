"""Draws what `rnnexport verify` prints for the two reference bundles: docs/_static/verify.svg, the README's picture.

python -m tools.draw_terminal
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

from rich.console import Console

import rnnexport
from rnnexport.bundle.bundle import reference_bundles
from rnnexport.report.parity import parity_tables

PICTURE = Path(__file__).resolve().parents[1] / "docs/_static/verify.svg"


def main() -> None:
    """Verify the bundles and draw the tables."""
    console = Console(record=True, width=132, file=io.StringIO(), force_terminal=True)
    console.print("[bold]$[/] rnnexport verify exported/lstm exported/gru")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, bundle in zip(("exported/lstm", "exported/gru"), reference_bundles(), strict=True):
            shutil.copytree(bundle, name)
            for table in parity_tables(rnnexport.verify(name)):
                console.print(table)
    PICTURE.write_text(console.export_svg(title="rnnexport verify"), encoding="utf-8")


if __name__ == "__main__":
    main()
