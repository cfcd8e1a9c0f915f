"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rnnexport.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Runtimes = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        "-r",
        help="A runtime's name (see `rnnexport runtimes`) or a path to a .toml file; repeat it for several. "
        "Default: every usable float32 runtime.",
    ),
]
BundlePath = Annotated[Path, typer.Argument(help="The exported folder, such as exported/gru.", show_default=False)]
BundlePaths = Annotated[list[Path], typer.Argument(help="Exported folders, such as exported/gru.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.")]


_DIGITS = 8
"""Of a size; a hundred million steps of one number are 400 MB in float32."""


def numbers(option: str, words: Sequence[str]) -> list[int]:
    """Read the numbers of an option that is given comma lists, repeated or both: `1,4 16` → [1, 4, 16].

    Raises:
        InputError: One is no whole number above 0.
    """
    parts = [part.strip() for word in words for part in word.split(",")]
    if wrong := [part for part in parts if not (part.isascii() and part.isdecimal() and part.strip("0"))]:
        raise InputError(f"{option} {wrong[0]!r} is no whole number above 0; give one or several, like {option} 1,4,16")
    if wrong := [part for part in parts if len(part) > _DIGITS]:
        raise InputError(
            f"{option} {wrong[0]:.20} is more than any memory holds; give a number of at most {_DIGITS} digits"
        )
    return list(dict.fromkeys(map(int, parts)))


def one_number(option: str, words: Sequence[str]) -> int:
    """Read the one number of an option.

    Raises:
        InputError: There are several, or it is no whole number above 0.
    """
    found = numbers(option, words)
    if len(found) > 1:
        raise InputError(f"{option} takes one number in this scenario, not {len(found)}")
    return found[0]


def share(option: str, word: str) -> float:
    """Read a percentage: `5%` or `5` → 0.05.

    Raises:
        InputError: It is no number of at least 0.
    """
    try:
        value = float(word.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{option} {word!r} is no percentage; give one like {option} 5%")
    return value / 100


def words(option: str, given: Sequence[str]) -> list[str]:
    """Read the words of an option that is given comma lists, repeated or both."""
    return list(dict.fromkeys(part.strip() for each in given for part in each.split(",")))
