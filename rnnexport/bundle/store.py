"""A bundle is written whole or not at all.

1. It is written beside its place, synced, and put there in one step: a killed export leaves the old one or the new one.
2. One command at a time writes a bundle; a second one is refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rnnexport.bundle.manifest import MANIFEST, Manifest
from rnnexport.errors import BundleError

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
            mend_interrupted_exchange(target)
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


def mend_interrupted_exchange(target: Path) -> None:
    """Where the two renames of `_put_in_place` were cut between, put the old bundle back."""
    previous = _previous(target)
    if not previous.exists():
        return
    with contextlib.suppress(OSError):
        if target.exists():
            shutil.rmtree(previous)
        else:
            previous.rename(target)
