"""Arguments as flags: the library speaks of `time_steps`, the command line of --time-steps."""

from __future__ import annotations

import re

FLAGS: dict[str, str | None] = {
    "batch_sizes": "--batch-size",
    "bench cells": "--cell",
    "compare_with": "--compare",
    "export inputs": "--input",
    "features": "--feature",
    "export sample": "--sample",
    "hidden_sizes": "--hidden-size",
    "max_wait_ms": "--max-wait",
    "openvino": "--format openvino",
    "opset_version": "--opset",
    "p99_limit_ms": "--p99-limit",
    "purpose": "--for",
    "repaired": "--out",
    "runtimes": "--runtime",
    "sample": "--inputs",
    "time_limit_seconds": "--time-limit",
    # what the command line does not offer
    "cpp": None,  # --format says it
    "dropout": None,
    "largest_batch": None,
    "limits": None,
    "memory_limit_bytes": None,
    "output_names": None,
}
"""The flag of each argument (of a command's, where other commands have it under another name) that is not its name."""

_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`]+))?`")


def flag_of(command: str, argument: str) -> str | None:
    """Return the flag of an argument; `None` where the command line does not offer it."""
    name = "--" + argument.replace("_", "-")
    return FLAGS.get(f"{command} {argument}", FLAGS.get(argument, name))


def in_flags(command: str, message: str) -> str:
    """Return a message of the library with `argument` and `argument=value` as flags."""

    def flag(found: re.Match[str]) -> str:
        argument, value = found.groups()
        words = [flag_of(command, argument) or argument, value if value != "True" else None]
        return " ".join(filter(None, words))

    return _ARGUMENT.sub(flag, message)
