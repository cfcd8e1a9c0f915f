"""Opens Keras's files safely: JSON and arrays come out, nothing is run, and nothing outside the file is read.

`.keras` (Keras 2.12 and later) is a zip of `config.json`, `metadata.json` and `model.weights.h5`. `.h5` keeps the
configuration in the attribute `model_config` and the weights in the group `model_weights`.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import InputError, RnnexportError
from rnnexport.files.json_files import parse_json

if TYPE_CHECKING:
    import h5py

SUFFIXES = {".keras", ".h5", ".hdf5"}
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_LARGEST_CONFIG = 64 * 2**20
LARGEST_EXPANSION = 100
"""What is stored may unpack to so many times its size; Keras stores weights unpacked."""


@dataclass(frozen=True, slots=True)
class KerasFile:
    """What a file holds."""

    path: Path
    config: dict[str, Any]
    keras_version: str
    weights: h5py.Group
    """`model.weights.h5` of a `.keras` file; the group `model_weights` of a `.h5` file."""
    is_archive: bool
    """Whether it is a `.keras` file, whose weights are found by the model's structure; in `.h5` by order."""

    def close(self) -> None:
        """Let go of the file."""
        self.weights.file.close()


def is_keras_file(path: Path) -> bool:
    """Whether `path` is meant as a Keras model, a folder that is refused with the remedy included."""
    return path.suffix in SUFFIXES or _is_saved_model(path) or _is_unpacked(path)


def _is_saved_model(path: Path) -> bool:
    return (path / "saved_model.pb").is_file()


def _is_unpacked(path: Path) -> bool:
    return (path / _CONFIG).is_file() and (path / _WEIGHTS).is_file()


def read_keras_file(path: Path) -> KerasFile:
    """Open a whole model; the caller closes it.

    Raises:
        InputError: h5py is missing; the file is missing, damaged, hostile, or holds weights only.
    """
    if _is_saved_model(path):
        raise InputError(
            f"{path} is a TensorFlow SavedModel, a program and no description; save the model with "
            "model.save('model.keras') and export that"
        )
    if _is_unpacked(path):
        parts = shlex.join(str(path / name) for name in (_CONFIG, _METADATA, _WEIGHTS) if (path / name).exists())
        raise InputError(
            f"{path} is the unpacked content of a .keras file; pack it again with "
            f"python -m zipfile -c model.keras {parts}, and export model.keras"
        )
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file")
    with explained(path):
        return _read_archive(path) if zipfile.is_zipfile(path) else _read_h5(path)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with a file while it is read.

    Raises:
        InputError: Whatever was raised.
    """
    try:
        yield
    except RnnexportError:
        raise
    except MemoryError as exc:
        raise InputError(f"{path} cannot be read: its arrays do not fit into memory") from exc
    except Exception as exc:  # damaged files make zipfile, zlib and h5py raise all kinds
        reason = str(exc).partition("\n")[0] or type(exc).__name__
        raise InputError(f"{path} is truncated or damaged: {reason}") from exc


def read_array(path: Path, dataset: Any, name: str, *, whole: bool = False) -> NDArray[np.floating[Any]]:
    """Read one array of floating-point numbers; `whole` ones may be there in place of them.

    Raises:
        InputError: It is no such array, lies in another file, or claims to be far larger than what is stored.
    """
    h5py = _h5py()
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{path}: {name} is no array")
    if dataset.external or dataset.is_virtual:
        raise InputError(f"{path}: {name} lies outside the file; do not use this file")
    if dataset.dtype.kind not in ("fiu" if whole else "f") or dataset.dtype.itemsize not in (2, 4, 8):
        raise InputError(f"{path}: {name} is {dataset.dtype}, not float16, float32 or float64")
    if dataset.nbytes > LARGEST_EXPANSION * max(dataset.id.get_storage_size(), 1):
        raise InputError(f"{path}: {name} claims {dataset.nbytes:,} bytes and stores hardly any; do not use this file")
    array = np.asarray(dataset[()])
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {name} holds NaN or infinity; the model was not trained to an end")
    return array


def member(path: Path, group: h5py.Group, name: str) -> Any:
    """Return a group or array that `group` itself holds, or `None`.

    Raises:
        InputError: It is a link, which could lead outside the file.
    """
    h5py = _h5py()
    found: Any = group
    for part in name.split("/"):
        if not isinstance(found, h5py.Group) or part not in found.keys():  # noqa: SIM118 - `in` would follow paths
            return None
        if not isinstance(found.get(part, getlink=True), h5py.HardLink):
            raise InputError(f"{path}: {name} is a link; do not use this file")
        found = found[part]
    return found


def _read_archive(path: Path) -> KerasFile:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        for needed in (_CONFIG, _WEIGHTS):
            if needed not in names:
                raise InputError(f"{path} is no Keras model: it has no {needed}")
        config = _parse(path, _CONFIG, _member_bytes(path, archive, _CONFIG, _LARGEST_CONFIG))
        version = "3"
        if _METADATA in names:
            metadata = _parse(path, _METADATA, _member_bytes(path, archive, _METADATA, _LARGEST_CONFIG))
            version = str(metadata.get("keras_version", version))
        limit = LARGEST_EXPANSION * path.stat().st_size
        weights = _h5py().File(io.BytesIO(_member_bytes(path, archive, _WEIGHTS, limit)), "r")
    return KerasFile(path, config, version, weights, is_archive=True)


def _member_bytes(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    size = archive.getinfo(name).file_size
    if size > limit:
        raise InputError(f"{path}: {name} would unpack to {size:,} bytes; do not use this file")
    return archive.read(name)


def _read_h5(path: Path) -> KerasFile:
    try:
        file = _h5py().File(path, "r")
        text, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "2")
    except OSError as exc:
        raise InputError(f"{path} is no Keras model, or is truncated or damaged") from exc
    if text is None:
        file.close()
        raise InputError(
            f"{path} holds weights and no model; save the whole model with model.save('model.keras') and export that"
        )
    weights = member(path, file, "model_weights")
    if weights is None:
        file.close()
        raise InputError(f"{path} holds a model without its weights; save it with model.save('model.keras')")
    return KerasFile(path, _parse(path, "model_config", text), _text(version), weights, is_archive=False)


def _parse(path: Path, name: str, text: bytes | str) -> dict[str, Any]:
    try:
        document = parse_json(text.encode() if isinstance(text, str) else bytes(text))
    except (ValueError, TypeError) as exc:
        raise InputError(f"{path}: {name} is no JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise InputError(f"{path}: {name} is no description of a model")
    return document


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def texts(group: h5py.Group, name: str) -> list[str]:
    """A list of names in an attribute, which long lists spread over `NAME0`, `NAME1` …."""
    if name in group.attrs:
        return [_text(each) for each in group.attrs[name]]
    parts: list[str] = []
    number = 0
    while (key := f"{name}{number}") in group.attrs:
        parts += [_text(each) for each in group.attrs[key]]
        number += 1
    return parts


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as exc:
        raise InputError("Keras's files need h5py; install it with: pip install 'rnnexport[keras]'") from exc
    return h5py
