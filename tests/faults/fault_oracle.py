"""Runs the command line on a folder, in this process, and says whether it behaved."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rnnexport.cli import main

MOST_LINES = 3
PROGRESS = re.compile(r" \(\d+ s\)$")
"""Lines of what takes long, as it does on a machine with other work."""
STATUSES = (0, 1, 2, 3)
EVIDENCE = ("parity.json", "parity_outputs.npz", "bench", "drift", "tune", "plan")
"""How the names of what commands write into a bundle begin."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str
    seconds: float
    lost: tuple[str, ...]
    """Files that were there before and are changed or gone, and files that appeared where nothing should."""

    @property
    def verdict(self) -> str:
        """`good` or `clear` where it behaved, else what is wrong."""
        if self.lost:
            return "loss"
        if "Traceback (most recent call last)" in self.err:
            return "traceback"
        if self.status not in STATUSES:
            return str(self.status)
        if len([line for line in self.err.splitlines() if not PROGRESS.search(line)]) > MOST_LINES:
            return "many lines"
        return "good" if self.status == 0 else "clear"


def run(command: list[str], folder: Path) -> Outcome:
    """Run a command in `folder`/work; whatever it writes belongs into `folder`/work/out."""
    work = folder / "work"
    before = _contents(folder)
    argv, start = sys.argv, time.monotonic()
    with _captured() as said, _inside(work):
        sys.argv = ["rnnexport", *command]
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
        finally:
            sys.argv = argv
    after = _contents(folder)
    lost = [name for name in before if after.get(name) != before[name]]
    return Outcome(
        status,
        said[0],
        said[1],
        time.monotonic() - start,
        (*lost, *(after.keys() - before.keys())),
    )


def _contents(folder: Path) -> dict[str, str]:
    """Digests of all files but those in work/out and what commands add to a bundle and Python to the user's code."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        is_expected = name.startswith("work/out") or path.name.startswith(EVIDENCE)
        if is_expected or path.parent.name == "__pycache__" or not path.is_file():
            continue
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _captured() -> Iterator[list[str]]:
    """Give what Python and libraries print to both streams, once the block has ended."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "out", Path(folder) / "err"
        kept, streams = [os.dup(1), os.dup(2)], (sys.stdout, sys.stderr)
        for stream in streams:
            stream.flush()
        files = [path.open("w", encoding="utf-8", buffering=1) for path in paths]
        try:
            for number, file in enumerate(files, start=1):
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = files
            yield said
        finally:
            sys.stdout, sys.stderr = streams
            for number, (file, descriptor) in enumerate(zip(files, kept, strict=True), start=1):
                file.flush()
                file.close()
                os.dup2(descriptor, number)
                os.close(descriptor)
            said.extend(path.read_text(encoding="utf-8", errors="replace") for path in paths)
