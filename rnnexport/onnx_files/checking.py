"""What an ONNX file must be before any command works with it.

`onnx.checker` says whether the graph is one: every value is made before it is used, attributes have the types that the
operators ask for. What it leaves open is checked here: that tensors hold what they declare, that texts are texts, that
recurrent nodes have weights of one size, and that nothing declares more than a machine can hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnexport.errors import InputError
from rnnexport.onnx_files.operators import GATES, NUMBER_OF_INPUTS, RECURRENT, B, R, W

LARGEST_INPUT = 2**28
"""Elements that the fixed dimensions of an input may come to: 1 GiB of float32."""
LARGEST_LIST = 2**20
"""Elements of a list, whose values the inference of shapes follows one by one where they are integers."""
DEEPEST_NESTING = 32
DYNAMIC = -1
"""How Paddle writes a dimension without a number; ONNX leaves it out or gives it a name."""
_DIRECTIONS = {b"": 1, b"forward": 1, b"reverse": 1, b"bidirectional": 2}
_SMALL = 1024
"""Bytes up to which a constant takes part in the inference of shapes, as sizes and axes do."""
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128,
    16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
"""Bits of an element in `raw_data`, by TensorProto.DataType; texts have none."""
_STRING = 8


def check_graph(path: Path, proto: Any) -> None:
    """Refuse a file that contradicts itself; `proto` is stripped of its large constants on the way.

    Raises:
        InputError: The message says what is wrong and where.
    """
    for problem in _problems(path, proto):
        raise InputError(f"{path} contradicts itself: {problem}")
    _strip(proto)
    import onnx

    try:
        onnx.checker.check_model(_with_shapes(proto))
        onnx.shape_inference.infer_shapes(proto, check_type=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise InputError(f"{path} contradicts itself: {_in_one_line(exc)}") from exc
    except Exception as exc:  # what the checker's own limits make it raise
        raise InputError(f"{path} cannot be checked: {_in_one_line(exc)}") from exc


def _problems(path: Path, proto: Any) -> Iterator[str]:
    graphs = [*_graphs(proto.graph, 0)]
    if any(depth > DEEPEST_NESTING for _, depth in graphs):
        yield f"its graphs are nested deeper than {DEEPEST_NESTING}"
    for graph, _ in graphs:
        yield from _wrong_names(graph)
        for node in graph.node:
            yield from (f"node {_name(node)!r}: {problem}" for problem in _wrong_node(path, node))
        for tensor in graph.initializer:
            yield from _wrong_tensor(path, tensor)
        if graph.sparse_initializer:
            yield "it holds sparse initializers, which are not read here"
    constants = {tensor.name: list(tensor.dims) for graph, _ in graphs for tensor in graph.initializer}
    for graph, _ in graphs:
        for node in graph.node:
            if node.op_type in RECURRENT and node.domain in ("", "ai.onnx"):
                yield from (f"node {_name(node)!r}: {problem}" for problem in _wrong_cell(node, constants))
    for value in proto.graph.input:
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        sizes = [size for size in sizes if size != DYNAMIC]
        if min(sizes, default=1) < 0:
            yield f"input {value.name!r} has a dimension of {min(sizes)}"
        if math.prod(sizes) > LARGEST_INPUT:
            yield f"input {value.name!r} declares {math.prod(sizes)} elements, more than {LARGEST_INPUT}"
    for graph, _ in graphs:
        for value in (*graph.input, *graph.output, *graph.value_info):
            sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
            if len(sizes) == 1 and sizes[0] > LARGEST_LIST:
                yield f"{value.name!r} declares a list of {sizes[0]} elements, more than {LARGEST_LIST}"
    if not proto.graph.output:
        yield "it has no output"


def _graphs(graph: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """The graph and the bodies in it, with their depth."""
    yield graph, depth
    for node in graph.node:
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(body, depth + 1)


def _wrong_names(graph: Any) -> Iterator[str]:
    dimensions = (
        d.dim_param for value in (*graph.input, *graph.output) for d in value.type.tensor_type.shape.dim if d.dim_param
    )
    values = (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    outputs = (name for node in graph.node for name in (node.name, *node.output))
    for name in (*dimensions, *values, *outputs):
        if isinstance(name, bytes):  # from protobuf, where they are no text
            yield f"the name {name.decode(errors='replace')!r} is no text"
        elif not name.isprintable():
            yield f"the name {name!r} holds a character that cannot be printed"


def _wrong_node(path: Path, node: Any) -> Iterator[str]:
    names = [attribute.name for attribute in node.attribute]
    for attribute in node.attribute:
        if names.count(attribute.name) > 1:
            yield f"attribute {attribute.name!r} is there twice"
        for text in (attribute.s, *attribute.strings):
            try:
                text.decode("utf-8")
            except UnicodeDecodeError:
                yield f"attribute {attribute.name!r} is no text"
        for tensor in [attribute.t] if attribute.HasField("t") else attribute.tensors:
            yield from _wrong_tensor(path, tensor)


def _wrong_tensor(path: Path, tensor: Any) -> Iterator[str]:
    where = f"tensor {tensor.name!r}"
    count = math.prod(tensor.dims)
    if min(tensor.dims, default=1) < 0:
        yield f"{where} has a dimension of {min(tensor.dims)}"
    elif tensor.data_type == _STRING:
        if len(tensor.string_data) != count:
            yield f"{where} declares {count} texts and holds {len(tensor.string_data)}"
    elif tensor.data_type not in _BITS:
        yield f"{where} is of type {tensor.data_type}, which is not known here"
    else:
        declared = -(-count * _BITS[tensor.data_type] // 8)
        if tensor.data_location == tensor.EXTERNAL:
            yield from _wrong_external(path, tensor, declared)
        elif tensor.HasField("raw_data"):
            if len(tensor.raw_data) != declared:
                yield f"{where} declares {declared} bytes and holds {len(tensor.raw_data)}"
        else:
            yield from _wrong_values(tensor, count)


def _wrong_values(tensor: Any, count: int) -> Iterator[str]:
    """Values in a field of their type; several small ones may share an entry."""
    entries = max(
        map(len, (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data))
    )
    bits = _BITS[tensor.data_type]
    needed = {10: 1, 14: 2, 15: 2}.get(tensor.data_type, bits / 8 if bits < 8 else 1) * count
    if entries != math.ceil(needed):
        yield f"tensor {tensor.name!r} declares {count} values and holds {entries}"


def _wrong_external(path: Path, tensor: Any, declared: int) -> Iterator[str]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    where = f"the external data of {tensor.name!r}"
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or declared)
        size = (path.parent / entries["location"]).stat().st_size
    except (ValueError, KeyError, OSError) as exc:
        yield f"{where} cannot be found: {exc}"
        return
    if length != declared:
        yield f"{where} is {length} bytes, the tensor {declared}"
    if offset < 0 or offset + length > size:
        yield f"{where} ends at byte {offset + length}; {entries['location']!r} has {size}"


def _wrong_cell(node: Any, constants: dict[str, list[int]]) -> Iterator[str]:
    """Weights that are constants must be of one hidden size: W [D, G·H, I], R [D, G·H, H], B [D, 2·G·H]."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    direction = attributes["direction"].s if "direction" in attributes else b"forward"
    if direction not in _DIRECTIONS:
        yield f"direction {direction.decode()!r} is none of forward, reverse, bidirectional"
        return
    directions, gates = _DIRECTIONS[direction], len(GATES[node.op_type])
    if len(node.input) > NUMBER_OF_INPUTS[node.op_type] or len(node.input) <= R:
        yield f"it has {len(node.input)} inputs; {node.op_type} takes {R + 1} to {NUMBER_OF_INPUTS[node.op_type]}"
        return
    w, r, b = (constants.get(node.input[i]) if i < len(node.input) else None for i in (W, R, B))
    known = attributes["hidden_size"].i if "hidden_size" in attributes else r[-1] if r else None
    if known is None:
        return
    if known < 1:
        yield f"hidden_size is {known}"
    expected = {"R": (r, [directions, gates * known, known]), "B": (b, [directions, 2 * gates * known])}
    if w is not None:
        expected["W"] = (w, [directions, gates * known, *w[2:3]])
    for letter, (found, wanted) in expected.items():
        if found is not None and found != wanted:
            yield f"{letter} is {found}; with hidden_size {known} it must be {wanted}"


def _with_shapes(proto: Any) -> Any:
    """A copy in which every input and output has a shape: the checker insists on it, runtimes do without."""
    copy = type(proto).FromString(proto.SerializeToString())
    for value in (*copy.graph.input, *copy.graph.output):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
    return copy


def _strip(proto: Any) -> None:
    """Make inputs of large constants, so that the checker neither copies nor reads them, and drop dimensions of -1."""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ():
            if dimension.dim_value == DYNAMIC:
                dimension.ClearField("value")
    inputs = {value.name for value in proto.graph.input}
    small = []
    for tensor in proto.graph.initializer:
        if len(tensor.raw_data) <= _SMALL and tensor.data_location != tensor.EXTERNAL:
            small.append(tensor)
        elif tensor.name not in inputs:
            value = proto.graph.input.add(name=tensor.name)
            value.type.tensor_type.elem_type = tensor.data_type
            value.type.tensor_type.shape.SetInParent()  # a scalar has a shape without dimensions
            for size in tensor.dims:
                value.type.tensor_type.shape.dim.add(dim_value=size)
    kept = [type(tensor).FromString(tensor.SerializeToString()) for tensor in small]
    proto.graph.ClearField("initializer")
    proto.graph.initializer.extend(kept)


def _name(node: Any) -> str:
    return str(node.name or next(iter(node.output), "") or node.op_type)


def _in_one_line(exc: Exception) -> str:
    """The first sentences; the checker prints whole nodes and graphs after them."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return f"{' '.join(lines[:3]):.300}" if lines else type(exc).__name__
