"""Where a result will go: asked before the work begins, not after it."""

from __future__ import annotations

import os
from pathlib import Path

from rnnexport.errors import InputError


def check_new_file(path: Path, argument: str) -> None:
    """Refuse a place where no file can be put in one step.

    Raises:
        InputError: It is a folder, a pipe or a device, or its folder is missing or may not be written to.
    """
    given, folder = f"`{argument}={path}`", path.absolute().parent
    if path.is_dir():
        raise InputError(f"{given} is a folder; give the file a name")
    if path.exists() and not path.is_file():
        raise InputError(f"{given} is no regular file, so it is not replaced")
    if not folder.is_dir():
        raise InputError(f"{given}: there is no folder {str(folder)!r}; make it first")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{given}: the folder {str(folder)!r} cannot be written to")


def is_same_file(first: Path, second: Path) -> bool:
    """Whether both are there and one file, whatever links lead to it."""
    return first.exists() and second.exists() and first.samefile(second)


def check_new_folder(path: Path, argument: str) -> None:
    """Refuse a place where no folder can be, or be made.

    Raises:
        InputError: Something else is there or on the way to it, or nothing may be written there.
    """
    place = path.absolute()
    while not place.exists() and not place.is_symlink():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"`{argument}={path}`: {str(place)!r} is no folder; choose another place")
    if not os.access(place, os.W_OK):
        raise InputError(f"`{argument}={path}`: the folder {str(place)!r} cannot be written to")
