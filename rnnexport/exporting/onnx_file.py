"""A graph as an ONNX file, written one weight at a time.

Serializing a model at once holds all of its weights twice more. A protobuf message is its fields one after another,
each with its tag and length, so the weights can follow the rest of the graph, and no two are in memory together. The
field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir

_GRAPH_OF_MODEL, _INITIALIZER_OF_GRAPH = 7, 5
_LENGTH_DELIMITED = 2


def write_onnx(model: onnx_ir.Model, path: Path) -> None:
    """Write `model` to `path`, weights included; below 2 GiB, which is protobuf's limit."""
    import onnx_ir

    weightless = model.clone()
    weightless.graph.initializers.clear()
    proto = onnx_ir.to_proto(weightless)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    size = sum(len(_field_head(_INITIALIZER_OF_GRAPH, len(weight))) + len(weight) for weight in _weights(model))
    with path.open("wb") as file:
        file.write(proto.SerializeToString(deterministic=True))
        file.write(_field_head(_GRAPH_OF_MODEL, len(graph) + size))
        file.write(graph)
        for weight in _weights(model):
            file.write(_field_head(_INITIALIZER_OF_GRAPH, len(weight)))
            file.write(weight)


def _weights(model: onnx_ir.Model) -> Iterator[bytes]:
    import onnx_ir

    for value in model.graph.initializers.values():
        assert value.const_value is not None
        value.const_value.name = value.name  # a tensor may have none, or that of another graph's
        yield onnx_ir.serde.serialize_tensor(value.const_value).SerializeToString(deterministic=True)


def _field_head(number: int, length: int) -> bytes:
    """Tag and length of a field, each as a varint: seven bits a byte, the lowest first."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])
