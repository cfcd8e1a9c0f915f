"""Is a file read to its end? Asked of a process of its own: the HDF5 library crashes on some damaged files, and reads
others for ever, where neither an exception nor a signal gets out.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from rnnexport.errors import InputError


def check_readable(path: Path, seconds: int = 60) -> None:
    """Read a Keras file in another process, for so many seconds of computing; a GB of weights takes about one.

    Raises:
        InputError: That process crashed, or was not done by then. What else is wrong is left to whoever reads the file.
    """
    command = [sys.executable, "-P", "-m", "rnnexport.keras_files.readable", str(path), str(seconds)]
    nowhere = subprocess.DEVNULL
    status = subprocess.run(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=False).returncode
    if status < 0:
        raise InputError(
            f"{path} is damaged: the HDF5 library crashes on it or reads it for ever; take another copy of it"
        )


def read_all(weights: Any) -> None:
    """Read the attributes and arrays of an HDF5 file, as far as they lie in it."""
    import h5py

    from rnnexport.keras_files.archive import LARGEST_EXPANSION

    waiting, seen = [weights.file["/"]], set()
    while waiting:
        found = waiting.pop()
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in found.attrs:
            found.attrs[name]
        if isinstance(found, h5py.Group):
            names = [name for name in found if isinstance(found.get(name, getlink=True), h5py.HardLink)]
            waiting.extend(found[name] for name in names)
            continue
        is_stored = isinstance(found, h5py.Dataset) and not (found.external or found.is_virtual)
        if is_stored and found.nbytes <= LARGEST_EXPANSION * found.id.get_storage_size():
            found[()]


def main() -> None:
    """Read the file that the command line names; by its status the caller knows how that ended."""
    from rnnexport.keras_files.archive import read_keras_file

    path, seconds = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    read_all(read_keras_file(Path(path)).weights)


if __name__ == "__main__":
    main()
