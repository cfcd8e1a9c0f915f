"""Which models a check judges, what each is called, and what kind of source it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnexport.arguments.options import silent
from rnnexport.bundle.bundle import Bundle
from rnnexport.checking.configuration import CONFIGURATION, Configuration, LimitSettings, ModelSettings
from rnnexport.errors import InputError
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.source_files import FileKind, file_kind

Kind = Literal["bundle", "checkpoint", "module"] | FileKind
_ALWAYS = {"source", "name", "limits"}
_GRAPHS = {"out", "lengths", "opset_version", "streaming"}
_TAKEN: dict[Kind, set[str]] = {
    "bundle": set(),
    "checkpoint": _GRAPHS,
    "module": _GRAPHS | {"weights", "kwargs", "inputs"},
    "onnx": {"out", "sample"},
    "keras": _GRAPHS,
    "program": _GRAPHS | {"inputs"},
}
"""The keys that mean something for each kind of source."""


@dataclass(frozen=True)
class ModelToCheck:
    """One model to judge; its paths are those from the working directory."""

    name: str
    kind: Kind
    settings: ModelSettings
    limits: LimitSettings
    folder: Path
    """That the configuration's paths start from."""

    @property
    def source(self) -> Path:
        """The file or folder that is judged, or that a bundle is made of."""
        return Path(self.settings.source)

    @property
    def out(self) -> Path:
        """Where the bundle lies, or goes."""
        if self.kind == "bundle":
            return self.source
        return Path(self.settings.out) if self.settings.out else self.folder / "exported" / self.name

    def export_options(self, on_note: object = silent) -> ExportOptions:
        """How the bundle is made."""
        given = self.settings
        return ExportOptions(
            out=self.out,
            inputs=given.inputs,
            sample=given.sample,
            lengths=given.lengths,
            opset_version=given.opset_version,
            streaming=given.streaming,
            on_note=on_note,  # type: ignore[arg-type]
        )

    def to_lint(self, bundle: Bundle | None) -> list[Path]:
        """The source, where it is an ONNX file, so that findings name it; else the bundle, and its step graph."""
        if self.kind == "onnx":
            return [self.source]
        if bundle is None:
            return []
        return [bundle.path, *([bundle.step_path] if bundle.manifest.step else [])]


def chosen_models(configuration: Configuration, folder: Path, named: Sequence[str | Path]) -> list[ModelToCheck]:
    """Return the models that are named, with their settings where there are any; else those of the configuration.

    Raises:
        InputError: There is none, two have one name, or a key means nothing for a kind of source.
    """
    listed = [_located(settings, folder) for settings in configuration.models]
    sought = [_settings_of(str(name), listed) for name in named] or listed
    if not sought:
        raise InputError(
            f"there is nothing to judge; name a bundle such as exported/gru, or list [[models]] in {CONFIGURATION}"
        )
    models: dict[str, ModelToCheck] = {}
    for settings in sought:
        model = _model(settings, configuration, folder)
        if (other := models.setdefault(model.name, model)) is not model:
            raise InputError(
                f"{other.settings.source} and {settings.source} are both called {model.name!r}; give one a name of its "
                f"own in {CONFIGURATION}"
            )
    return list(models.values())


def _settings_of(name: str, listed: Sequence[ModelSettings]) -> ModelSettings:
    """Return the listed model of that name or source, or one without settings of its own."""
    found = [each for each in listed if name == _name(each) or Path(name) == Path(each.source)]
    return found[0] if found else ModelSettings(source=name)


def _located(settings: ModelSettings, folder: Path) -> ModelSettings:
    """Return the settings with paths that start from the configuration's folder."""
    paths = {key: getattr(settings, key) for key in ("out", "weights", "sample")}
    if not _names_code(settings.source):
        paths["source"] = settings.source
    return settings.model_copy(update={key: str(folder / path) for key, path in paths.items() if path is not None})


def _model(settings: ModelSettings, configuration: Configuration, folder: Path) -> ModelToCheck:
    kind = _kind(settings.source)
    given = settings.model_fields_set - _ALWAYS
    if unused := sorted(given - _TAKEN[kind]):
        raise InputError(f"model {settings.source}: {unused[0]} is not for {_said(kind)}; leave it out")
    if kind in ("module", "program") and not settings.inputs:
        raise InputError(
            f"model {settings.source}: a module needs its inputs; list it under [[models]] in {CONFIGURATION} with "
            'inputs = ["tokens:int64[batch,time]"]'
        )
    return ModelToCheck(_name(settings), kind, settings, settings.limits or configuration.limits, folder)


def _kind(source: str) -> Kind:
    if kind := file_kind(source):
        return kind
    if _names_code(source):
        return "module"
    return "checkpoint" if (Path(source) / "model.safetensors").is_file() else "bundle"


def _names_code(source: str) -> bool:
    return ":" in source and not Path(source).exists()


def _name(settings: ModelSettings) -> str:
    kind = _kind(settings.source)
    if settings.name or kind == "module":
        return settings.name or settings.source.rpartition(":")[2]
    path = Path(settings.source).resolve()
    return path.name if kind in ("bundle", "checkpoint") else path.stem


def _said(kind: Kind) -> str:
    return {
        "bundle": "a bundle, which is judged as it is",
        "checkpoint": "a checkpoint",
        "module": "a module",
        "onnx": "an ONNX file, which becomes a bundle as it is",
        "keras": "a Keras file",
        "program": "a TorchScript file",
    }[kind]
