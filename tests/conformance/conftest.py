"""Runtimes of the engines in `plugins/planted_engines.py`."""

from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[1] / "plugins" / "planted_engines"


@pytest.fixture
def planted(monkeypatch, tmp_path):
    """The path of a definition for an engine of that name, registered here and in the worker."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))

    def planted(engine: str) -> Path:
        path = tmp_path / f"{engine}.toml"
        path.write_text(f'engine = "{engine}"\nprecision = "float32"\n', encoding="utf-8")
        return path

    return planted
