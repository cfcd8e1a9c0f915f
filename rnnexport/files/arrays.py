"""Arrays of `.npy` and `.npz` files: the one reader of them.

What an array declares is compared with what is in the file before anything is allocated, archives may not be bombs, and
nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import io
import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import InputError
from rnnexport.files.regular_files import check_regular

LARGEST_UNPACKED = 2**30
"""Bytes that compressed arrays may take in memory, however small the file is."""
LARGEST_RATIO = 100
"""Above that, they may take this many times the size of the file."""
_MOST_MEMBERS = 100_000
_ZIP, _NPY = b"PK\x03\x04", b"\x93NUMPY"
_KINDS = "biufcUS"
"""Kinds of dtype that are arrays of numbers or texts."""
_ENCRYPTED = 1
_NAME_LENGTH_AT, _LOCAL_HEADER = 26, 30
"""Of a local file header (APPNOTE.TXT, section 4.3.7): where the lengths of what follows stand; bytes."""


def read_npz(path: Path, content: bytes | None = None) -> dict[str, NDArray[Any]]:
    """Read all arrays of a `.npz`, or of the `content` that was read from it.

    Raises:
        InputError: It cannot be read, is something else, damaged, encrypted, a bomb, or holds objects.
    """
    with _explained(path), _open_zip(path, content) as archive:
        arrays = {}
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                raise ValueError(f"it holds {info.filename!r}, which is no array")
            with archive.open(info) as member:
                arrays[info.filename.removesuffix(".npy")] = _read_member(member, info.file_size)
        return arrays


def read_npy(path: Path) -> NDArray[Any]:
    """Read the array of a `.npy`.

    Raises:
        InputError: As `read_npz`.
    """
    with _explained(path), _opened(path) as file:
        start = file.read(len(_NPY))
        if start.startswith(_ZIP):
            raise ValueError("it is a .npz, which holds several arrays; give it that name")
        if start != _NPY:
            raise ValueError("it is no .npy file")
        file.seek(0)
        return _read_member(file, path.stat().st_size)


def map_array(path: Path, name: str) -> NDArray[Any]:
    """Return one array of a `.npz`: mapped where it is stored uncompressed, so that memory does not grow with it.

    Raises:
        InputError: As `read_npz`, or it has no array of that name.
    """
    with _explained(path):
        with _open_zip(path, None) as archive:
            if f"{name}.npy" not in archive.namelist():
                raise ValueError(f"it has no array {name!r}")
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as member:
                shape, is_fortran, dtype = _read_header(member, info.file_size)
                header = member.tell()
            if info.compress_type != zipfile.ZIP_STORED or not math.prod(shape):
                with archive.open(info) as member:
                    return _read_member(member, info.file_size)
        with path.open("rb") as file:
            file.seek(info.header_offset + _NAME_LENGTH_AT)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
        start = info.header_offset + _LOCAL_HEADER + name_length + extra_length + header
        return np.asarray(np.memmap(path, dtype, "r", start, shape, "F" if is_fortran else "C"))


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except MemoryError as exc:
        raise InputError(f"{path} cannot be read: its arrays do not fit into memory") from exc
    except Exception as exc:  # damaged archives make zipfile, zlib and numpy raise all kinds
        reason = str(exc).partition("\n")[0] or type(exc).__name__
        raise InputError(f"{path} cannot be read: {reason}") from exc


def _opened(path: Path) -> IO[bytes]:
    check_regular(path)
    return path.open("rb")


def _open_zip(path: Path, content: bytes | None) -> zipfile.ZipFile:
    """Open an archive that is none of the harmful ones."""
    with _opened(path) if content is None else io.BytesIO(content) as file:
        start = file.read(len(_NPY))
        size = file.seek(0, io.SEEK_END)
    if start == _NPY:
        raise ValueError("it is a .npy, a single array; save it with numpy.savez and the array's name")
    if not start.startswith((_ZIP, b"PK\x05\x06")):
        raise ValueError("it is no .npz file")
    archive = zipfile.ZipFile(path if content is None else io.BytesIO(content))
    members = archive.infolist()
    unpacked = sum(info.file_size for info in members if info.compress_type != zipfile.ZIP_STORED)
    problem = None
    if any(info.flag_bits & _ENCRYPTED for info in members):
        problem = "it is encrypted"
    elif len(members) > _MOST_MEMBERS:
        problem = f"it holds {len(members)} files, more than {_MOST_MEMBERS}"
    elif unpacked > max(LARGEST_UNPACKED, LARGEST_RATIO * size):
        problem = f"it would unpack to {unpacked >> 20} MiB, over {LARGEST_RATIO} times its size; save it uncompressed"
    elif sum(info.file_size for info in members) - unpacked > size:
        problem = "it declares more than it holds"
    if problem:
        archive.close()
        raise ValueError(problem)
    return archive


def _read_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read what an array of `size` bytes, header included, declares."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"it is of format {version}, which is not known here")
    # Names of fields, which version 3.0 writes in UTF-8, are no matter: such dtypes are refused.
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run code, so it is not opened")
    if dtype.kind not in _KINDS:
        raise ValueError(f"it holds {dtype}, neither numbers nor texts")
    declared, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or declared != there:
        raise ValueError(f"it declares an array of {declared} bytes and holds {there}; it is truncated or damaged")
    return shape, is_fortran, dtype


def _read_member(file: IO[bytes], size: int) -> NDArray[Any]:
    shape, is_fortran, dtype = _read_header(file, size)
    content = bytearray(file.read())  # writable; an archive's member checks its CRC at the end
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError("it ends before its array does")
    if not content:
        return np.zeros(shape, dtype)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
