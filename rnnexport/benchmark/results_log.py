"""A long run's results, line by line: what is written stays, however the run ends, and a later run goes on from there.

The first line states the settings; each further line is a whole result. A line that was cut off by the end of the
process is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnexport.errors import InputError
from rnnexport.files.destinations import check_new_file
from rnnexport.files.regular_files import read_regular

SCHEMA_VERSION = 1


class ResultsLog:
    """A file of JSON lines that grows."""

    def __init__(self, path: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        """Start the file, or take it up again.

        Raises:
            InputError: It cannot be written; or it exists and is not to be resumed, or has other settings, another
                schema version, or no header.
        """
        self.path, self._settings = path, dict(settings)
        self.lines: list[dict[str, Any]] = []
        """What earlier runs wrote."""
        check_new_file(path, "out")
        if path.exists():
            if not resume:
                raise InputError(f"{path} exists; go on with `resume`, or choose another `out`")
            self.lines = self._read()
        self._rewrite()

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one result; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[dict[str, Any]]:
        text = read_regular(self.path).decode("utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1].splitlines()
        try:
            header, *lines = [json.loads(line) for line in whole]
            version, settings = header["schema_version"], header["settings"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise InputError(f"{self.path} is no results log of rnnexport bench; choose another `out`") from exc
        if version != SCHEMA_VERSION:
            raise InputError(f"{self.path} is schema {version}, this version reads {SCHEMA_VERSION}; start a new one")
        if changed := sorted(k for k in settings.keys() | self._settings if settings.get(k) != self._settings.get(k)):
            raise InputError(f"{self.path} was begun with another {', '.join(changed)}; use the same, or another `out`")
        return lines

    def _rewrite(self) -> None:
        """Put header and whole lines in place in one step."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        header = {"schema_version": SCHEMA_VERSION, "settings": self._settings}
        temporary.write_text("".join(json.dumps(line) + "\n" for line in (header, *self.lines)), encoding="utf-8")
        temporary.replace(self.path)
