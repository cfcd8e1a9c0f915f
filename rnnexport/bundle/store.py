"""A bundle is written whole or not at all.

1. It is written beside its place, synced, and put there in one step: a killed export leaves the old one or the new one.
2. One command at a time writes a bundle; a second one is refused.
3. What is emptied and removed on the way is the working folder `.NAME.rnnexport` and nothing else; one that holds what
   this module does not write is left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from rnnexport.bundle.manifest import MANIFEST, Manifest
from rnnexport.errors import BundleError

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_NEW, _OLD = "new", "old"
"""What a working folder holds: the bundle that is being written, and for a moment the one that it replaces."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file as hexadecimal digits.

    Raises:
        OSError: It cannot be read, or is a symbolic link, a pipe or a device, which could hang or lie elsewhere.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "it is no regular file")
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def write_bundle(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well, it takes the place of `target` in one step.

    The caller fills the folder and calls `seal` as its last act. On any error the folder is removed and `target` is
    untouched. Where `target` is a symbolic link, what it points to is replaced and the link stays.

    Raises:
        BundleError: `target` is something else than a bundle, another process is writing it, or the disk refuses.
    """
    target = check_target(target)
    with _working_folder(target) as working:
        building = working / _NEW
        try:
            building.mkdir()
            yield building
            if not (building / MANIFEST).is_file():
                raise BundleError(f"the bundle for {target} was not sealed")
            _sync(building)
            _put_in_place(building, target)
        except OSError as exc:
            raise BundleError(f"cannot write bundle {target}: {exc.strerror or exc}") from exc


def check_target(target: Path) -> Path:
    """Return where a bundle for `target` is written: the place itself, or the one that a symbolic link points to.

    Raises:
        BundleError: Something else than a bundle is there.
    """
    try:
        target = target.resolve()
        free = not target.exists() or (target / MANIFEST).is_file() or (target.is_dir() and not any(target.iterdir()))
    except (OSError, ValueError, RuntimeError) as exc:  # such as a loop of links, or a name with NUL
        raise BundleError(f"{str(target)!r} is no place for a bundle: {getattr(exc, 'strerror', None) or exc}") from exc
    if not target.name or not free:
        raise BundleError(f"{target} exists and is no bundle, so it is not replaced; choose another `out`")
    return target


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest over all files that `folder` holds by now."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
    text = manifest.model_copy(update={"files": files}).model_dump_json(indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def _working_folder(target: Path) -> Iterator[Path]:
    """Hold the working folder, emptied, for this process alone; the system lets go of it when the process dies."""
    working = _working(target)
    try:
        working.parent.mkdir(parents=True, exist_ok=True)
        working.mkdir(exist_ok=True)
        descriptor = os.open(working, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as exc:
        raise BundleError(f"cannot write to {working.parent}: {exc.strerror}") from exc
    try:
        if not _lock(descriptor, working):
            raise BundleError(f"{target} is being written by another command; wait until that has ended")
        if foreign := {path.name for path in working.iterdir()} - {_NEW, _OLD}:
            raise BundleError(f"{working} holds {min(foreign)!r}, which rnnexport did not write; move it elsewhere")
        try:
            _put_back(working, target)
            for leftover in working.iterdir():
                shutil.rmtree(leftover)
            yield working
        finally:
            shutil.rmtree(working, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, working: Path) -> bool:
    """Whether the folder is now ours; another command may have removed it between `open` and `flock`."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), working.lstat())
    except OSError:
        return False


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
        target.rename(building.with_name(_OLD))
        building.rename(target)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; false where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(_AT_FDCWD, bytes(first), _AT_FDCWD, bytes(second), _RENAME_EXCHANGE) == 0)


def _working(target: Path) -> Path:
    return target.with_name(f".{target.name}.rnnexport")


def _put_back(working: Path, target: Path) -> None:
    """Where the two renames of `_put_in_place` were cut between, put the old bundle back."""
    if not target.exists() and (working / _OLD / MANIFEST).is_file():
        (working / _OLD).rename(target)


def mend_interrupted_exchange(target: Path) -> None:
    """Put the old bundle back where an export was killed between its two renames; nothing is ever removed."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        target = target.resolve()
        descriptor = os.open(_working(target), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if _lock(descriptor, _working(target)):  # else an export is at it this very moment
                _put_back(_working(target), target)
        finally:
            os.close(descriptor)
