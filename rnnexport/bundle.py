"""The exported folder: what is in it, and that it is whole.

1. A bundle is written beside its place, synced, and put there in one step: a killed export leaves the old one or the
   new one.
2. `manifest.json` lists every file with its SHA-256; a reader refuses what is missing, altered or of an unknown schema.
3. Later evidence (`parity.json`, `bench.json`) carries the manifest's hash, so that it is known to be stale after a new
   export. It is replaced file by file, atomically.
4. Nothing in a bundle is ever unpickled.

History of the schema
    1  first version
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rnnexport.engines.contract import Definition
from rnnexport.errors import BundleError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorInfo(_Strict):
    """A graph input or output; a `str` in `shape` is a symbolic dimension."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    role: Literal["features", "lengths", "indices", "state", "output"] = "features"
    """`lengths` counts the time steps of each row; `indices` are integers below `upper_bound`."""
    upper_bound: int | None = None
    time_axis: str | None = None
    """For `lengths`: the symbolic dimension that it counts."""


class Tolerance(_Strict):
    """An element passes at |actual - expected| <= atol + rtol * |expected|."""

    atol: float = Field(ge=0)
    rtol: float = Field(ge=0)


class Source(_Strict):
    """Where the graph came from, and so what can judge it."""

    kind: Literal["builtin", "module", "onnx"]
    """`builtin`: model.json and weights rebuild it; `module`: a user's code; `onnx`: a file without its source."""
    name: str

    @property
    def description(self) -> str:
        """What it is, for a sentence."""
        kinds = {"builtin": "a model of rnnexport", "module": "a module of the user's", "onnx": "an ONNX file"}
        return f"{kinds[self.kind]}, {self.name}"


class StepGraphInfo(_Strict):
    """`step.onnx`: it takes a chunk of the series and the states, and gives the outputs and the new states."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    time_dimension: str
    """The symbolic dimension that is cut into chunks."""
    batch_dimension: str
    """The symbolic dimension of the streams that share a call; empty where the model takes one at a time."""


class Manifest(_Strict):
    """What a bundle says of itself."""

    schema_version: Literal[1] = 1
    name: str
    source: Source
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    state_pairs: tuple[tuple[str, str], ...] = ()
    """(input, output) of the step graph that carry a recurrent state, such as ("h_0", "h_n")."""
    step: StepGraphInfo | None = None
    task: str | None = None
    metric: str | None = None
    class_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    """What each token of the input stands for."""
    tolerances: dict[str, Tolerance]
    """By precision, such as `float32`."""
    versions: dict[str, str]
    files: dict[str, str]
    """Path below the bundle, with `/`, to SHA-256."""


@dataclass(frozen=True)
class Evaluation:
    """Labelled series that the bundle keeps, so that the task's metric needs no data package."""

    series: list[NDArray[Any]]
    """One array [time, features] per series, or tokens [time]."""
    labels: NDArray[Any]
    """A row per series, or per time step of all series one after another."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on disk."""

    path: Path
    manifest: Manifest
    manifest_sha256: str

    @property
    def model_path(self) -> Path:
        """The sequence graph."""
        return self.path / "model.onnx"

    @property
    def step_path(self) -> Path:
        """The step graph, where the manifest has one."""
        return self.path / "step.onnx"

    @property
    def description_path(self) -> Path:
        """`model.json`, from which the torch engine rebuilds a `builtin` source."""
        return self.path / "model.json"

    def file_for(self, definition: Definition) -> Path:
        """What the definition's engine loads: the source model for the torch engine, else the graph."""
        return self.description_path if definition.engine == "torch" else self.model_path

    def why_not_applicable(self, definition: Definition) -> str | None:
        """Say why the definition's engine has nothing to run here, or `None` where it has."""
        if definition.engine == "torch" and self.manifest.source.kind != "builtin":
            return f"n/a: the bundle keeps no PyTorch source, since it was made from {self.manifest.source.description}"
        return None

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """The labelled series, or `None` where the bundle keeps none."""
        if "evaluation.npz" not in self.manifest.files:
            return None
        with np.load(self.path / "evaluation.npz", allow_pickle=False) as arrays:
            ends = np.cumsum(arrays["lengths"])[:-1]
            return Evaluation(np.split(arrays["values"], ends), arrays["labels"])

    @property
    def series(self) -> list[NDArray[Any]]:
        """The model's own series, each [time, features] or tokens [time]; none where the bundle keeps none."""
        return self.evaluation.series if self.evaluation else []

    def write_evidence(self, name: str, document: dict[str, Any]) -> None:
        """Replace `name` (such as `parity.json`) atomically, stamped with the manifest's hash; see `write_file`."""
        self.write_file(name, json.dumps({"manifest_sha256": self.manifest_sha256, **document}, indent=1).encode())

    def write_file(self, name: str, content: bytes) -> None:
        """Replace `name` atomically.

        A folder without write permission, such as an installed reference bundle, is left as it is.

        Raises:
            BundleError: Writing failed.
        """
        if not os.access(self.path, os.W_OK):
            return
        target = self.path / name
        temporary = self.path / f".{name}.{os.getpid()}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as exc:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise BundleError(f"cannot write {target}: {exc.strerror}") from exc

    def evidence(self, name: str) -> Literal["none", "current", "stale"]:
        """Say whether `name` exists and belongs to this very manifest."""
        try:
            document = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return "none"
        except ValueError:
            return "stale"
        current = isinstance(document, dict) and document.get("manifest_sha256") == self.manifest_sha256
        return "current" if current else "stale"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_bundle(path: Path) -> Bundle:
    """Read a bundle and check that every file is as the export left it.

    Raises:
        BundleError: It is missing, of another schema version, or a file is missing or altered.
    """
    _mend_interrupted_exchange(path)
    manifest_path = path / MANIFEST
    try:
        content = manifest_path.read_bytes()
    except FileNotFoundError as exc:
        what = f"has no {MANIFEST}, so it is no bundle" if path.is_dir() else "does not exist"
        raise BundleError(f"bundle {str(path)!r} {what}; make one with: rnnexport export --out {path}") from exc
    except OSError as exc:
        raise BundleError(f"bundle {str(path)!r} cannot be read: {exc.strerror}") from exc
    manifest = _parse_manifest(path, content)
    for name, expected in manifest.files.items():
        _check_file(path, name, expected)
    return Bundle(path, manifest, hashlib.sha256(content).hexdigest())


def _parse_manifest(path: Path, content: bytes) -> Manifest:
    try:
        document = json.loads(content)
        version = document["schema_version"]
    except (ValueError, KeyError, TypeError) as exc:
        raise BundleError(f"{path / MANIFEST} is damaged; export again") from exc
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path / MANIFEST} is schema {version}, this version reads {SCHEMA_VERSION}; "
            "export again or upgrade rnnexport"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path / MANIFEST} is damaged at {where!r}: {first['msg']}; export again") from exc


def _check_file(bundle: Path, name: str, expected: str) -> None:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise BundleError(f"{bundle / MANIFEST} names {name!r}, which lies outside the bundle; do not use this bundle")
    try:
        actual = sha256_of(bundle / name)
    except OSError as exc:
        raise BundleError(f"bundle {str(bundle)!r}: {name} cannot be read: {exc.strerror}; export again") from exc
    if actual != expected:
        raise BundleError(f"bundle {str(bundle)!r}: {name} was changed after the export; export again")


def reference_bundles() -> list[Path]:
    """Return the two bundles that come with rnnexport: an LSTM and a GRU trained on JapaneseVowels."""
    folder = Path(str(resources.files("rnnexport.exported")))
    return [folder / "reference-lstm", folder / "reference-gru"]


@contextlib.contextmanager
def write_bundle(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well, it takes the place of `target` in one step.

    The caller fills the folder and calls `seal` as its last act. On any error the folder is removed and `target` is
    untouched.

    Raises:
        BundleError: `target` is something else than a bundle, another process is writing it, or the disk refuses.
    """
    target = target.absolute()
    building = target.with_name(f".{target.name}.building")
    with _locked(building, target):
        try:
            _mend_interrupted_exchange(target)
            if target.exists() and not (target / MANIFEST).is_file() and not _is_empty_folder(target):
                raise BundleError(f"{target} exists and is no bundle, so it is not replaced; choose another --out")
            yield building
            if not (building / MANIFEST).is_file():
                raise BundleError(f"the bundle for {target} was not sealed")
            _sync(building)
            _put_in_place(building, target)
        except OSError as exc:
            raise BundleError(f"cannot write bundle {target}: {exc.strerror or exc}") from exc
        finally:
            shutil.rmtree(building, ignore_errors=True)


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest over all files that `folder` holds by now."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
    text = manifest.model_copy(update={"files": files}).model_dump_json(indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


@contextlib.contextmanager
def _locked(building: Path, target: Path) -> Iterator[None]:
    """Hold `building`, emptied, for this process alone; the system lets go of it when the process dies."""
    try:
        building.parent.mkdir(parents=True, exist_ok=True)
        building.mkdir(exist_ok=True)
        descriptor = os.open(building, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise BundleError(f"cannot write to {building.parent}: {exc.strerror}") from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between `open` and `flock` another command may have put this very folder in place.
            still_there = os.path.samestat(os.fstat(descriptor), building.stat())
        except OSError:
            still_there = False
        if not still_there:
            raise BundleError(f"{target} is being written by another command; wait until that has ended")
        for leftover in building.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put_in_place(building: Path, target: Path) -> None:
    if not target.exists():
        building.rename(target)
    elif not _exchange(building, target):
        previous = _previous(target)
        target.rename(previous)
        building.rename(target)
        shutil.rmtree(previous)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; false where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(_AT_FDCWD, bytes(first), _AT_FDCWD, bytes(second), _RENAME_EXCHANGE) == 0)


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _mend_interrupted_exchange(target: Path) -> None:
    """Where the two renames of `_put_in_place` were cut between, put the old bundle back."""
    previous = _previous(target)
    if not previous.exists():
        return
    with contextlib.suppress(OSError):
        if target.exists():
            shutil.rmtree(previous)
        else:
            previous.rename(target)
