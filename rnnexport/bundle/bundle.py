"""A bundle on disk, checked when it is read.

1. Every file is as the manifest says; what is missing, altered or of an unknown schema is refused.
2. Later evidence (`parity.json`, `bench.json`) carries the manifest's hash, so that it is known to be stale after a new
   export; see `evidence.py`. It is replaced file by file, atomically.
3. Nothing in a bundle is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from numpy.typing import NDArray

from rnnexport.bundle.manifest import MANIFEST, DecoderInfo, Manifest, StepGraphInfo
from rnnexport.bundle.manifest_file import parse_manifest
from rnnexport.bundle.store import mend_interrupted_exchange, sha256_of
from rnnexport.data.files import split_series
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition
from rnnexport.errors import BundleError, InputError, RnnexportWarning
from rnnexport.files.arrays import read_npz
from rnnexport.files.json_files import parse_json
from rnnexport.files.regular_files import read_regular
from rnnexport.onnx_files.reading import check_file, external_files
from rnnexport.results.invocation import invocation
from rnnexport.results.result import ShownInNotebooks


@dataclass(frozen=True)
class Evaluation:
    """Labelled series that the bundle keeps, so that the task's metric needs no data package."""

    series: list[NDArray[Any]]
    """One array [time, features] per series, or tokens [time]."""
    labels: NDArray[Any]
    """A row per series, or per time step of all series one after another."""


@dataclass(frozen=True)
class Bundle(ShownInNotebooks):
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
    def decoder_path(self) -> Path:
        """One step of the decoder, where the manifest has one."""
        return self.path / "decoder.onnx"

    @property
    def description_path(self) -> Path:
        """`model.json`, from which the torch engine rebuilds a `builtin` source."""
        return self.path / "model.json"

    def file_for(self, definition: Definition) -> Path:
        """What the definition's engine loads: the source model for the torch engine, else the graph."""
        return self.description_path if reads_source(definition) else self.model_path

    def why_not_applicable(self, definition: Definition) -> str | None:
        """Say why the definition's engine has nothing to run here, or `None` where it has."""
        if reads_source(definition) and self.manifest.source.kind != "builtin":
            return f"n/a: the bundle keeps no source model, since it was made from {self.manifest.source.description}"
        return None

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """The labelled series, or `None` where the bundle keeps none."""
        if "evaluation.npz" not in self.manifest.files:
            return None
        return read_evaluation(self.path / "evaluation.npz", self.manifest)

    @property
    def series(self) -> list[NDArray[Any]]:
        """The model's own series, each [time, features] or tokens [time]; none where the bundle keeps none."""
        return self.evaluation.series if self.evaluation else []

    @property
    def is_writable(self) -> bool:
        """Whether files can be added to it; an installed reference bundle may be read-only."""
        return os.access(self.path, os.W_OK)

    def write_evidence(self, name: str, document: dict[str, Any]) -> None:
        """Replace `name` (such as `parity.json`) atomically, stamped with the manifest's hash; see `write_file`.

        Where the folder may not be written to, a warning says so.
        """
        if not self.is_writable:
            message = f"{name} is not kept: bundle {str(self.path)!r} cannot be written to; copy it, and use the copy"
            warnings.warn(message, RnnexportWarning, stacklevel=2)
            return
        stamp = {
            "manifest_sha256": self.manifest_sha256,
            "command": invocation(),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.write_file(name, json.dumps({**stamp, **document}, indent=1).encode())

    def write_file(self, name: str, content: bytes) -> None:
        """Replace `name` atomically.

        A folder without write permission, such as an installed reference bundle, is left as it is.

        Raises:
            BundleError: Writing failed.
        """
        if not self.is_writable:
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
            document = parse_json(read_regular(self.path / name))
        except FileNotFoundError:
            return "none"
        except (ValueError, OSError):
            return "stale"
        current = isinstance(document, dict) and document.get("manifest_sha256") == self.manifest_sha256
        return "current" if current else "stale"


def read_evaluation(path: Path, manifest: Manifest) -> Evaluation:
    """Read labelled series that fit the model.

    Raises:
        InputError: The file cannot be read.
        BundleError: An array is missing, or the three do not fit each other or the model's inputs.
    """
    arrays = read_npz(path)
    try:
        values, lengths, labels = (arrays[name] for name in ("values", "lengths", "labels"))
        series = split_series(values, lengths)
    except KeyError as exc:
        raise BundleError(f"{path} has no array {exc}; export again") from exc
    except ValueError as exc:
        raise BundleError(f"{path}: {exc}; export again") from exc
    step, problem = values.shape[1:], None
    if labels.ndim not in (1, 2) or len(labels) not in (len(series), len(values)):
        problem = f"labels is {list(labels.shape)}, for {len(series)} series of {len(values)} steps"
    elif {values.dtype.kind, labels.dtype.kind} - {*"biuf"}:
        problem = f"values are {values.dtype}, labels {labels.dtype}; both must be numbers"
    elif not any(info.shape[2:] == step for info in manifest.inputs if len(info.shape) == 2 + len(step)):
        problem = f"a time step is {list(step)}, which no input of the model takes"
    if problem:
        raise BundleError(f"{path}: {problem}; export again")
    return Evaluation(series, labels)


def load_bundle(path: Path) -> Bundle:
    """Read a bundle and check that every file is as the export left it.

    Raises:
        BundleError: It is missing, of another schema version, or a file is missing or altered.
    """
    mend_interrupted_exchange(path)
    manifest_path = path / MANIFEST
    try:
        content = read_regular(manifest_path)
    except FileNotFoundError as exc:
        what = f"has no {MANIFEST}, so it is no bundle" if path.is_dir() else "does not exist"
        raise BundleError(f"bundle {str(path)!r} {what}; make one with: rnnexport export --out {path}") from exc
    except OSError as exc:
        raise BundleError(_no_folder(path) or f"bundle {str(path)!r} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise BundleError(f"{str(path)!r} is no path: {exc}") from exc
    manifest = parse_manifest(path, content)
    for name, expected in manifest.files.items():
        _check_file(path, name, expected)
    _check_graph(path, manifest, "model.onnx", manifest)
    if manifest.step is not None:
        _check_graph(path, manifest, "step.onnx", manifest.step)
    if manifest.decoder is not None:
        _check_graph(path, manifest, "decoder.onnx", manifest.decoder)
    return Bundle(path, manifest, hashlib.sha256(content).hexdigest())


def _no_folder(path: Path) -> str | None:
    """What to type in place of a file."""
    if not path.is_file():
        return None
    if (path.parent / MANIFEST).is_file():
        return f"{str(path)!r} is a file of a bundle; give the folder: {path.parent}"
    if path.suffix == ".onnx":
        return f"{str(path)!r} is no bundle; make one with: rnnexport export {path} --out exported/{path.stem}"
    return f"{str(path)!r} is no bundle, which is a folder"


def _check_file(bundle: Path, name: str, expected: str) -> None:
    parts = PurePosixPath(name)
    folder = (bundle / name).parent
    if parts.is_absolute() or ".." in parts.parts or folder.resolve() != bundle.resolve().joinpath(*parts.parts[:-1]):
        raise BundleError(f"{bundle / MANIFEST} names {name!r}, which lies outside the bundle; do not use this bundle")
    try:
        actual = sha256_of(bundle / name)
    except OSError as exc:
        raise BundleError(f"bundle {str(bundle)!r}: {name} cannot be read: {exc.strerror}; export again") from exc
    if actual != expected:
        raise BundleError(f"bundle {str(bundle)!r}: {name} was changed after the export; export again")


def _check_graph(
    bundle: Path, manifest: Manifest, name: str, described: Manifest | StepGraphInfo | DecoderInfo
) -> None:
    """Refuse a graph that is none, that is not the one described, or whose weights the manifest does not list."""
    try:
        ends, outside = check_file(bundle / name), external_files(bundle / name)
    except InputError as exc:
        raise BundleError(f"bundle {str(bundle)!r}: {exc}; export again") from exc
    if unlisted := [file for file in outside if file not in manifest.files]:
        raise BundleError(f"{bundle / MANIFEST} does not list {unlisted[0]!r}, which {name} reads; export again")
    for kind, infos, found in (("inputs", described.inputs, ends.inputs), ("outputs", described.outputs, ends.outputs)):
        said = {info.name: len(info.shape) for info in infos}
        foreign = kind == "outputs" and manifest.source.kind == "onnx"  # whose declarations may be false
        ranks_differ = not foreign and any(found.get(each) not in (None, rank) for each, rank in said.items())
        if said.keys() != found.keys() or ranks_differ:
            raise BundleError(f"{bundle / MANIFEST}: the {kind} are not those of {name}; export again")


def reference_bundles() -> list[Path]:
    """Return the two bundles that come with rnnexport: an LSTM and a GRU trained on JapaneseVowels."""
    folder = Path(str(resources.files("rnnexport.exported")))
    return [folder / "reference-lstm", folder / "reference-gru"]
