"""TOML of any origin, as a pydantic model; whatever is wrong is one line with the file and the key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from rnnexport.errors import InputError, UnknownNameError
from rnnexport.files.regular_files import read_regular

Model = TypeVar("Model", bound=BaseModel)
_UNKNOWN = "extra_forbidden"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: It cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(read_regular(path).decode("utf-8"))
    except OSError as exc:
        raise InputError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{path}: is not TOML: {str(exc).partition(chr(10))[0]}") from exc


def read_settings(model: type[Model], path: Path) -> Model:
    """Read a TOML file as `model`, which forbids other keys than its own.

    Raises:
        InputError: It cannot be read, is no TOML, or a key is unknown, missing or wrong.
    """
    content = read_toml(path)
    try:
        return model.model_validate(content)
    except ValidationError as exc:
        errors = exc.errors()
        error = next((each for each in errors if each["type"] == _UNKNOWN), errors[0])
        table, key, known = _key(model, error["loc"])
        if error["type"] == _UNKNOWN:
            where = f"{path}: [{table}]" if table else str(path)
            raise InputError(f"{where}: {UnknownNameError('key', key, known)}") from exc
        key = f"{table}.{key}" if table else key
        if error["type"] == "missing":
            raise InputError(f"{path}: key {key!r} is missing") from exc
        said = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise InputError(f"{path}: {key} = {error['input']!r}: must be {said}") from exc


def _key(model: type[BaseModel], place: Iterable[int | str]) -> tuple[str, str, list[str]]:
    """Return the table, such as `models[1].limits`, the key in it, and the keys that this table may have."""
    inner: type[BaseModel] | None = model
    table, key, known = "", "", sorted(model.model_fields)
    for part in place:
        if isinstance(part, int):
            key += f"[{part}]"
        elif inner is not None:
            table, key, known = ".".join(filter(None, [table, key])), part, sorted(inner.model_fields)
            inner = _model_in(inner.model_fields[part].annotation) if part in inner.model_fields else None
    return table, key, known


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a key holds, alone, in a list or beside None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
