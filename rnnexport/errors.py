"""Every error that a caller of rnnexport can meet.

    RnnexportError
    ├── InputError               the call or what it was given is wrong
    │   ├── UnknownNameError     a cell, task, runtime … of that name does not exist
    │   ├── CheckpointError      a checkpoint is missing, damaged or not ours
    │   ├── BundleError          a bundle is missing, damaged, altered or in use
    │   └── NoReferenceError     nothing proven can judge the model, so there is no verdict
    ├── TrainingError            a training cannot go on
    ├── ExportError              the model cannot be written as ONNX
    ├── EngineError              an inference library refused or failed
    └── RuntimeUnavailableError  a runtime asked for does not work on this machine
    InterruptedBySignal          someone ended the command; no Exception
    RnnexportWarning             it works, but not as it was meant to

Messages are one or two lines: what is wrong, where, what to do. The command line prints them and exits with
`exit_status`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RnnexportWarning(UserWarning):
    """Something works, but not as it was meant to; the message says what to do."""


class RnnexportError(Exception):
    """Something went wrong that the caller can understand and mend."""

    exit_status = 2


class InterruptedBySignal(BaseException):
    """SIGINT, SIGTERM or SIGHUP, in the command line; a KeyboardInterrupt could be raised by code of the user's."""

    def __init__(self, number: int) -> None:
        """Keep the signal's number."""
        super().__init__(number)
        self.number = number


class InputError(RnnexportError):
    """The call or what it was given is wrong."""


class UnknownNameError(InputError):
    """A name that stands for nothing; the message gives the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Say that `name` is no `kind`, and which of `known` come nearest."""
        choices = sorted(known)
        nearest = difflib.get_close_matches(name, choices, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        super().__init__(f"{kind} {name!r} is unknown; {hint}choose one of: {', '.join(choices)}")


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or not one that rnnexport wrote."""


class BundleError(InputError):
    """A bundle is missing, damaged, altered, or being written by another process."""


class NoReferenceError(InputError):
    """There is no reference for a model that is proven to be right, so there is no verdict on it."""


class TrainingError(RnnexportError):
    """A training cannot go on."""


class ExportError(RnnexportError):
    """The model cannot be written as ONNX."""


class EngineError(RnnexportError):
    """An inference library refused a model, or failed while it ran."""


class RuntimeUnavailableError(RnnexportError):
    """A runtime that was asked for does not work on this machine."""

    exit_status = 3
