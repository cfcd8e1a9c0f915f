"""The Keras models that tools/write_keras_files.py kept."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

MODELS = Path(__file__).with_name("models.tar.xz")


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the kept models: `keras2/NAME.h5`, `.keras`, `.npz`, and those of `keras3`."""
    folder = tmp_path_factory.mktemp("kept")
    with tarfile.open(MODELS) as archive:
        archive.extractall(folder, filter="data")
    return folder
