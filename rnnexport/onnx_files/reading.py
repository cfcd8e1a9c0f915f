"""An ONNX file of any origin, read safely: it is never changed, and nothing outside its folder is opened.

Every reader that follows takes an `onnx_ir.Model`, whose external data stays on disk until it is used.
A file is checked where it enters; what comes after may rely on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rnnexport.errors import InputError
from rnnexport.onnx_files.checking import DYNAMIC, check_graph
from rnnexport.onnx_files.operators import STACK_DOMAIN

if TYPE_CHECKING:
    import onnx_ir

OLDEST_OPSET = 11
_DOMAINS = {
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "com.microsoft",
    "com.microsoft.nchwc",
    "ai.onnx.preview.training",
    STACK_DOMAIN,
}


@dataclass(frozen=True, slots=True)
class Ends:
    """The inputs and outputs of a graph, each with its number of dimensions where the file says it."""

    inputs: dict[str, int | None]
    outputs: dict[str, int | None]


def read_model(path: Path) -> onnx_ir.Model:
    """Read an ONNX file. Its own functions are put in the place of their calls, so that nothing in them is overlooked.

    Raises:
        InputError: It is missing, no ONNX file, truncated, of an operator set or domain that is not known here, or its
            external data is missing or lies outside its folder.
    """
    import onnx_ir
    from onnx_ir.passes.common import InlinePass

    check_file(path)
    try:
        model = onnx_ir.load(path)
        if model.functions:
            InlinePass()(model)
    except Exception as exc:  # whatever a contradictory file makes the reader raise
        raise InputError(f"{path} contradicts itself: {_first_line(exc)}") from exc
    free_dynamic_sizes((*model.graph.inputs, *model.graph.outputs))
    return model


def free_dynamic_sizes(values: Iterable[onnx_ir.Value]) -> None:
    """Leave sizes of -1 open."""
    import onnx_ir

    for value in values:
        if value.shape is not None and DYNAMIC in value.shape:
            value.shape = onnx_ir.Shape([None if size == DYNAMIC else size for size in value.shape])


def check_file(path: Path) -> Ends:
    """Check an ONNX file as a whole, and return what it takes and gives.

    Raises:
        InputError: As `read_model`.
    """
    proto = _read_proto(path)
    _check_operator_sets(path, proto)
    for name in _external_names(path, proto):
        _check_external_file(path, name)
    constants = {tensor.name for tensor in proto.graph.initializer}
    ends = Ends(
        {value.name: _rank(value) for value in proto.graph.input if value.name not in constants},
        {value.name: _rank(value) for value in proto.graph.output},
    )
    check_graph(path, proto)
    return ends


def _rank(value: Any) -> int | None:
    tensor = value.type.tensor_type
    return len(tensor.shape.dim) if tensor.HasField("shape") else None


def external_files(path: Path) -> list[str]:
    """Names of the files beside an ONNX file that hold its weights, relative to its folder.

    Raises:
        InputError: As `read_model`.
    """
    return sorted(set(_external_names(path, _read_proto(path))))


def _read_proto(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        if not path.is_file():  # a pipe or a device could hang
            path.stat()
            inside = path / "model.onnx"
            raise InputError(f"{path} is no file; give an ONNX file" + (f": {inside}" if inside.is_file() else ""))
        proto = onnx.load(path, load_external_data=False)
    except ValueError as exc:
        raise InputError(f"{str(path)!r} is no path: {exc}") from exc
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}") from exc
    except DecodeError as exc:
        raise InputError(f"{path} is no ONNX file, or is truncated or damaged") from exc
    if not proto.ir_version or not proto.opset_import or not proto.graph.node:
        raise InputError(f"{path} is no ONNX file: it has no graph")
    return proto


def _check_operator_sets(path: Path, proto: Any) -> None:
    from onnx.defs import onnx_opset_version

    own_functions = {function.domain for function in proto.functions}
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            if not OLDEST_OPSET <= entry.version <= onnx_opset_version():
                raise InputError(
                    f"{path} is of operator set {entry.version}; this version reads {OLDEST_OPSET} to "
                    f"{onnx_opset_version()}; convert the file with onnx.version_converter.convert_version"
                )
        elif entry.domain not in _DOMAINS | own_functions and _uses(proto.graph, entry.domain):
            raise InputError(f"{path} uses operators of the domain {entry.domain!r}, which is not known here")


def _uses(graph: Any, domain: str) -> bool:
    return any(node.domain == domain for node in graph.node) or any(
        _uses(attribute.g, domain) for node in graph.node for attribute in node.attribute if attribute.HasField("g")
    )


def _external_names(path: Path, proto: Any) -> Iterator[str]:
    """Locations of external data, in the order of the tensors."""
    for tensor in _tensors(proto.graph):
        if tensor.data_location == tensor.EXTERNAL:
            locations = [entry.value for entry in tensor.external_data if entry.key == "location"]
            if not locations:
                raise InputError(f"{path}: the external data of {tensor.name!r} has no location")
            yield locations[0]


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)


def _check_external_file(path: Path, name: str) -> None:
    parts = PurePosixPath(name)
    if not name.isprintable():
        raise InputError(f"{path} names external data {name!r}, which is no file's name; do not use this file")
    file = path.parent / name
    if parts.is_absolute() or ".." in parts.parts or not file.resolve().is_relative_to(path.parent.resolve()):
        raise InputError(f"{path} names external data outside its folder, {name!r}; do not use this file")
    if file.is_symlink() or not file.is_file():
        raise InputError(f"{path}: its external data {name!r} is missing or no regular file; put it beside the file")


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
