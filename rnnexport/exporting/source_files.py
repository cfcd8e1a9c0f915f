"""Which files are sources, for all that take one: the library, the command line and `rnnexport check`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rnnexport.exporting.torch_files import is_program_file
from rnnexport.keras_files.archive import is_keras_file

FileKind = Literal["onnx", "keras", "program"]


def file_kind(source: object) -> FileKind | None:
    """Return what kind of model file a source is meant as, mostly by its name.

    `None`: it is none of them, but a checkpoint's folder, the name of a class, or a module itself.
    """
    if not isinstance(source, str | Path):
        return None
    if str(source).endswith(".onnx"):
        return "onnx"
    if is_keras_file(Path(source)):
        return "keras"
    return "program" if is_program_file(source) else None
