"""Runtimes of the engines in `plugins/careless_engines.py`, and bundles with a fault in the graph."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests import bundles

PLUGINS = Path(__file__).parents[1] / "plugins" / "careless_engines"


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """The path of a definition for an engine of that name, registered here and in the worker."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))

    def careless(engine: str) -> Path:
        path = tmp_path / f"{engine}.toml"
        path.write_text(f'engine = "{engine}"\nprecision = "float32"\n', encoding="utf-8")
        return path

    return careless


@pytest.fixture
def altered(tmp_path: Path) -> Callable[[Path, Callable[[onnx.ModelProto], None]], Path]:
    """A copy of a bundle whose graph was changed and sealed again."""
    return lambda source, change: bundles.altered(source, tmp_path / source.name, change)
