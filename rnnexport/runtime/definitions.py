"""Runtime definitions: find them, validate them, and say which are usable here.

1. A name is looked up in `./runtimes/` and then among the shipped ones; a path that ends in `.toml` is that file.
2. A definition is whole and valid when it leaves here: known keys, a registered engine, options the engine knows.
3. Whatever is wrong with a file is one line with the file and the key.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from rnnexport.engines import engine_names, get_engine, is_ours
from rnnexport.engines.contract import Availability, Definition
from rnnexport.errors import (
    InputError,
    RnnexportError,
    RnnexportWarning,
    RuntimeUnavailableError,
    UnknownNameError,
)
from rnnexport.files.toml_files import read_toml
from rnnexport.runtime.plug_ins import ask_elsewhere

LOCAL = Path("runtimes")
_RULES = {"device": "choose cpu, cuda or cuda:N", "options": "choose a string, a number, true or false"}
_KEYS = Definition.model_fields.keys() - {"name"}


class RuntimeStatus(BaseModel):
    """A definition, and whether it works on this machine."""

    model_config = ConfigDict(frozen=True)

    definition: Definition
    availability: Availability

    def error(self) -> RuntimeUnavailableError:
        """What to raise, or to print, where it does not."""
        return self.availability.error(self.definition.name)


def load_definition(name_or_path: str | Path, search: Path = LOCAL) -> Definition:
    """Load the definition of that name, or from that `.toml` file.

    Raises:
        UnknownNameError: No definition has that name.
        InputError: The file is missing, is not TOML, or has an unknown or wrong key, engine or option.
        EngineError: The engine is a broken plug-in.
    """
    path = _find(name_or_path, search)
    definition = _validated(path, read_toml(path))
    try:
        if definition.engine not in engine_names() or is_ours(definition.engine):
            get_engine(definition.engine).check_options(definition)
        else:
            ask_elsewhere(definition)
    except InputError as exc:
        raise InputError(f"{path}: {exc}") from exc
    return definition


def shadowing_notice(name_or_path: str | Path, search: Path = LOCAL) -> str | None:
    """A line for people where a local definition hides a shipped one of the same name, else nothing."""
    local, shipped = _paths(search).get(str(name_or_path)), _paths(_shipped()).get(str(name_or_path))
    if local is None or shipped is None or local.samefile(shipped):
        return None
    return f"runtime {str(name_or_path)!r} is {local}, not the one that comes with rnnexport"


def list_definitions(search: Path = LOCAL) -> list[Definition]:
    """All definitions, local and shipped, by name.

    Warns:
        RnnexportWarning: One is wrong, or its engine is a broken plug-in; it is left out, and the others are here.
    """
    found = []
    for name in sorted(_known(search)):
        try:
            found.append(load_definition(name, search))
        except RnnexportError as exc:
            warnings.warn(f"runtime {name!r} is left out: {exc}", RnnexportWarning, stacklevel=2)
    return found


def runtime_status(definition: Definition) -> RuntimeStatus:
    """Ask the engine whether the definition works here."""
    if is_ours(definition.engine):
        availability = get_engine(definition.engine).available(definition)
    else:
        availability = ask_elsewhere(definition)
    return RuntimeStatus(definition=definition, availability=availability)


def runtime_statuses(search: Path = LOCAL) -> list[RuntimeStatus]:
    """The status of all definitions, local and shipped, by name."""
    return [runtime_status(definition) for definition in list_definitions(search)]


def default_definitions(search: Path = LOCAL) -> list[Definition]:
    """What a command takes when no runtime is named: every usable float32 definition."""
    wanted = [definition for definition in list_definitions(search) if definition.precision == "float32"]
    return [definition for definition in wanted if runtime_status(definition).availability.usable]


def choose_runtimes(names: Sequence[str | Path], search: Path = LOCAL) -> tuple[list[Definition], list[RuntimeStatus]]:
    """Return the definitions that a command runs, and those that were named but are not usable.

    Without names: every usable float32 definition. A runtime named twice counts once.

    Raises:
        InputError: A name is unknown, a file is wrong, or two different definitions have one name.
        RuntimeUnavailableError: None of those named is usable.
    """
    if not names:
        return default_definitions(search), []
    chosen: dict[str, Definition] = {}
    for name in names:
        definition = load_definition(name, search)
        if chosen.setdefault(definition.name, definition) != definition:
            raise InputError(f"two different runtimes are called {definition.name!r}; rename one of the files")
    statuses = [runtime_status(definition) for definition in chosen.values()]
    usable = [status.definition for status in statuses if status.availability.usable]
    not_usable = [status for status in statuses if not status.availability.usable]
    if not usable:
        raise not_usable[0].error()
    return usable, not_usable


def _shipped() -> Path:
    return Path(str(files("rnnexport.runtimes")))


def _paths(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in folder.glob("*.toml")}


def _known(search: Path) -> dict[str, Path]:
    return _paths(_shipped()) | _paths(search)


def _find(name_or_path: str | Path, search: Path) -> Path:
    if str(name_or_path).endswith(".toml"):
        return Path(name_or_path)
    known = _known(search)
    if str(name_or_path) not in known:
        raise UnknownNameError("runtime", str(name_or_path), known)
    return known[str(name_or_path)]


def _validated(path: Path, content: Mapping[str, Any]) -> Definition:
    if unknown := sorted(content.keys() - _KEYS):
        raise InputError(f"{path}: {UnknownNameError('key', unknown[0], _KEYS)}")
    try:
        return Definition(name=path.stem, **content)
    except ValidationError as exc:
        error = exc.errors()[0]
        key = ".".join(str(part) for part in error["loc"][:2])
        if error["type"] == "missing":
            raise InputError(f"{path}: key {key!r} is missing") from exc
        rule = _RULES.get(str(error["loc"][0]), error["msg"])
        raise InputError(f"{path}: {key} = {error['input']!r}: {rule}") from exc
