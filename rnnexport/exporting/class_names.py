"""The user's words for what a model's output stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.manifest import Manifest
from rnnexport.engines.contract import Feeds
from rnnexport.errors import InputError

_LARGEST_FILE = 2**24
_ROUNDING = 1e-6
"""Of the sum of a row of probabilities, which were computed in float64."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read a text file with the name of a class on each line.

    Raises:
        InputError: It cannot be read, or is no text.
    """
    if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path} is no file of class names, one on each line")
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError as exc:
        raise InputError(f"{path} is no text in UTF-8: {exc}") from exc


def with_class_names(manifest: Manifest, names: Sequence[str], answers: Sequence[Feeds]) -> Manifest:
    """Return the manifest with names for the columns of the model's output, and what these hold.

    `answers` are what the model gives in float64 at the calls of the bundle.

    Raises:
        InputError: There is more than one output, or the names are not as many as its columns.
    """
    if not names:
        return manifest
    if len(manifest.outputs) != 1:
        outputs = ", ".join(info.name for info in manifest.outputs)
        raise InputError(f"`class_names` name the columns of a model's only output; this one gives {outputs}")
    output = manifest.outputs[0].name
    arrays = [np.asarray(answer[f"float64/{output}"]) for answer in answers]
    columns = arrays[0].shape[-1] if arrays[0].ndim else 1
    wanted = 2 if columns == 1 else columns
    if len(names) != wanted:
        raise InputError(f"`class_names`: {len(names)} are given; {output!r} has {columns} columns and takes {wanted}")
    rows = np.concatenate([array.reshape(-1, columns) for array in arrays])
    given_as = "probabilities" if _are_probabilities(rows) else "logits"
    return manifest.model_copy(update={"class_names": tuple(names), "classes_given_as": given_as})


def _are_probabilities(rows: NDArray[Any]) -> bool:
    """Whether all rows are; those with NaN, which padding may hold, say nothing."""
    rows = rows[np.isfinite(rows).all(axis=1)]
    whole = rows.shape[1] == 1 or bool((np.abs(rows.sum(axis=1) - 1) < _ROUNDING).all())
    return len(rows) > 0 and whole and bool(((rows >= 0) & (rows <= 1)).all())
