"""Text of any origin that is printed in messages and tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} holds a character that cannot be printed")
    return text


Line = Annotated[str, AfterValidator(_one_line)]
"""A field of a file that is one line and can be printed."""
