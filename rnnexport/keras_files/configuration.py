"""What a file's configuration says, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from rnnexport.errors import ExportError
from rnnexport.keras_files.layers import LAYERS
from rnnexport.keras_files.layers.operations import OPERATIONS
from rnnexport.keras_files.layers.recurrent import snake_case
from rnnexport.keras_files.model import Kind

MODELS = ("Functional", "Model", "Sequential")
"""Classes that are models, of Keras 2 and 3."""
Reference = tuple[str, int, int]
"""A tensor: its layer, which call of it, and which of the call's outputs."""


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """A layer as the file describes it, and where it is."""

    class_name: str
    config: Mapping[str, Any]
    name: str
    owner: tuple[str, ...]
    top: str
    """The layer of the outermost model that it is or belongs to."""
    is_operation: bool = False
    """Whether it is an operation of `keras.ops`, and no layer."""


def layer_configs(
    class_name: str, layers: Sequence[Mapping[str, Any]], owner: tuple[str, ...], top: str | None
) -> Iterator[tuple[LayerConfig, Mapping[str, Any]]]:
    """All layers with what the file says of them; places in the file count them by class."""
    counts: dict[str, int] = {}
    for found in layers:
        kind, config = str(found["class_name"]), found.get("config", {})
        name = str(found.get("name") or config.get("name") or kind.lower())
        place = snake_case("Functional" if kind == "Model" else kind)
        counted = kind in (*LAYERS, *MODELS, "TimeDistributed", "InputLayer") and not _is_operation(found)
        if counted and not (class_name == "Sequential" and kind == "InputLayer"):
            number = counts[place] = counts.get(place, -1) + 1
            place = f"{place}_{number}" if number else place
        yield LayerConfig(kind, config, name, (*owner, "layers", place), top or name, _is_operation(found)), found


def refuse(layer: LayerConfig, reason: str) -> NoReturn:
    """Refuse a layer.

    Raises:
        ExportError: Always, with its name and class.
    """
    raise ExportError(f"layer {layer.name!r} ({layer.class_name}): {reason}")


def refuse_class(layer: LayerConfig) -> NoReturn:
    """Refuse a layer of a class that is not known, and say why where that is known.

    Raises:
        ExportError: Always.
    """
    reasons = {
        "Lambda": "it is code, which is never run from a file; build it from Keras's own layers",
        "TFOpLambda": "it is an operation of TensorFlow; build it from Keras's own layers",
        "SlicingOpLambda": "it is an operation of TensorFlow; build it from Keras's own layers",
    }
    refuse(layer, reasons.get(layer.class_name, "layers of this class cannot be exported"))


def check_origins(structure: Any) -> None:
    """Refuse classes that are not Keras's own, whatever they are called."""
    if isinstance(structure, Mapping):
        module, registered = structure.get("module"), structure.get("registered_name")
        own = module is None or str(module).split(".")[0] in ("keras", "tf_keras", "builtins")
        if "class_name" in structure and (not own or ">" in str(registered)):
            config = structure.get("config")
            name = structure.get("name") or (config.get("name") if isinstance(config, Mapping) else None)
            what = f"layer {name!r}" if name else "a part of the model"
            raise ExportError(
                f"{what} ({registered or structure['class_name']}): it is a class of its own, whose code is "
                "not in the file; build it from Keras's own layers"
            )
        structure = list(structure.values())
    if isinstance(structure, list):
        for each in structure:
            check_origins(each)


def _is_operation(found: Mapping[str, Any]) -> bool:
    if (module := found.get("module")) is not None:
        return str(module).startswith("keras.src.ops")
    # a .h5 file names no modules, but says of each layer whether it is trained
    return found["class_name"] in OPERATIONS and "trainable" not in found.get("config", {})


def references(structure: Any) -> list[Reference]:
    """All (layer, node, tensor) that a part of a configuration names, in the order of Keras."""
    if isinstance(structure, Mapping):
        if structure.get("class_name") == "__keras_tensor__":
            name, node, tensor = structure["config"]["keras_history"]
            return [(str(name), int(node), int(tensor))]
        return [each for _, value in sorted(structure.items()) for each in references(value)]
    if not isinstance(structure, list | tuple):
        return []
    if len(structure) in (3, 4) and isinstance(structure[0], str) and all(type(n) is int for n in structure[1:3]):
        return [(structure[0], structure[1], structure[2]), *references(list(structure[3:]))]
    return [each for value in structure for each in references(value)]


def first_call(layer: LayerConfig, named: Sequence[Reference]) -> int:
    """The number of a layer's first call; in Keras 2 a model within a model may have been called once on its own."""
    if layer.class_name not in MODELS:
        return 0
    return min((number for name, number, _ in named if name == layer.name), default=0)


def declared_shape(config: Mapping[str, Any]) -> Sequence[int | None] | None:
    """The input shape that a layer declares, batch included; `None` where it declares none.

    Raises:
        ExportError: It is no shape.
    """
    found = config.get("batch_shape") or config.get("batch_input_shape")
    if found is None and (shape := config.get("input_shape")) is not None:
        found = [None, *shape]
    if found is not None and not all(size is None or (type(size) is int and size > 0) for size in found):
        raise ExportError(f"input {config.get('name')!r} has the shape {found}, which is none")
    return cast("Sequence[int | None] | None", found)


def input_kind(config: Mapping[str, Any]) -> Kind:
    """The kind of numbers that an input takes.

    Raises:
        ExportError: It is sparse, ragged, or takes no numbers.
    """
    dtype = config.get("dtype")
    if not isinstance(dtype, str) or dtype.startswith(("float", "mixed")):
        return "float"
    if dtype == "bool":
        return "bool"
    if config.get("sparse") or config.get("ragged") or not dtype.startswith(("int", "uint")):
        raise ExportError(f"input {config.get('name')!r} is {dtype}, which cannot be exported")
    return "int64" if dtype in ("int64", "uint32", "uint64") else "int32"
