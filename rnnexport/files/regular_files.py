"""Regular files: the one way to read a file of any origin whole. A pipe would make its reader wait for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def check_regular(path: Path) -> None:
    """Refuse what is no regular file, and no link to one.

    Raises:
        OSError: It is missing, a folder, a pipe or a device; `strerror` says which.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_regular(path: Path) -> bytes:
    """Read a regular file.

    Raises:
        OSError: As `check_regular`, or it cannot be read.
    """
    check_regular(path)
    return path.read_bytes()
