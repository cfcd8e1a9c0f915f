"""The shared library of rnnexport-kernels, where it is installed."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def library() -> Path:
    """The library that `pip install ./kernels` installed, or the one that the environment names."""
    if named := os.environ.get("RNNEXPORT_KERNELS_LIBRARY"):
        return Path(named)
    found = entry_points(group="rnnexport.kernels")
    if not found:
        pytest.skip("rnnexport-kernels is not installed: pip install ./kernels (needs a C++ compiler)")
    path: Path = next(iter(found)).load()()
    return path
