"""What the tests of measuring share."""

from __future__ import annotations

from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[1] / "plugins" / "faulty_engine"


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine of `plugins/`, and a runtime for each of its faults."""
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runtimes").mkdir()
    for how in ("dies", "hangs", "eats-memory", "drifts"):
        (tmp_path / f"runtimes/{how}.toml").write_text('engine = "faulty"\nprecision = "float32"\n')
