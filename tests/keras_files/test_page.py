"""The programs of docs/tutorial/keras.md run as pasted, and what they save is exported and right."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rnnexport

pytest.importorskip("keras", reason="needs Keras; run: nox -s keras")
pytestmark = pytest.mark.slow
PAGE = (Path(__file__).resolve().parents[2] / "docs/tutorial/keras.md").read_text(encoding="utf-8")


def test_the_programs_of_the_page_run_and_what_they_save_is_exported(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    environment = {"KERAS_BACKEND": "torch", **os.environ}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "12,449 parameters" in done.stdout, done.stderr
    assert "9,441 parameters" in done.stdout
    for name in ("lstm", "gru"):
        bundle = rnnexport.export(tmp_path / f"{name}.keras", tmp_path / name, streaming=True)
        assert rnnexport.verify(bundle.path).passed
