"""Arrays of a .npz that stay in the file until they are used, so that memory does not grow with the data set."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAME_LENGTH_AT, _HEADER_LENGTH = 26, 30
"""Of a local file header (APPNOTE.TXT, section 4.3.7): where the lengths of what follows stand; bytes."""


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Return an array of the archive: mapped where it is stored as `numpy.savez` does, read where it is compressed."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        info = archive.getinfo(f"{name}.npy")
        version = np.lib.format.read_magic(member)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read_header[version](member)
        header = member.tell()
    if info.compress_type != zipfile.ZIP_STORED or dtype.hasobject or not np.prod(shape):
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    with path.open("rb") as file:
        file.seek(info.header_offset + _NAME_LENGTH_AT)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
    start = info.header_offset + _HEADER_LENGTH + name_length + extra_length + header
    return np.asarray(np.memmap(path, dtype, "r", start, shape, "F" if is_fortran else "C"))
