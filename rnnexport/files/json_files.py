"""JSON of any origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rnnexport.errors import InputError
from rnnexport.files.regular_files import read_regular


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It cannot be read, or is no JSON that this reader takes: too deeply nested, not UTF-8, or
            half a character stands in its text.
    """
    try:
        return parse_json(read_regular(path))
    except ValueError as exc:
        raise InputError(f"{path} is no JSON file: {exc}") from exc
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}") from exc


def parse_json(content: bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: It is none; the message is one line.
    """
    try:
        document = json.loads(content.decode("utf-8"))
        if (
            b"\\ud" in content or b"\\uD" in content
        ):  # the escape of half a character, which no text that is written can hold
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    except UnicodeEncodeError as exc:
        raise ValueError(f"its text holds half a character, {exc.object[exc.start]!a}") from exc
    return document
