"""The shared library of rnnexport-kernels, where it is installed."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def library() -> Path:
    """The library that the environment names, or the one that `pip install ./kernels` installed."""
    named = os.environ.get("RNNEXPORT_KERNELS_LIBRARY")
    return Path(named) if named else _installed()


@pytest.fixture(scope="session")
def package() -> Path:
    """The library that `pip install ./kernels` installed, which the engine of ONNX Runtime finds by itself."""
    return _installed()


def _installed() -> Path:
    found = entry_points(group="rnnexport.kernels")
    if not found:
        pytest.skip("rnnexport-kernels is not installed: pip install ./kernels (needs a C++ compiler)")
    path: Path = next(iter(found)).load()()
    return path
