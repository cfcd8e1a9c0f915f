"""Damage to files: byte by byte, and field by field where the format is known.

Every function takes a `random.Random`, so that hypothesis and a campaign of 30,000 draw from the same source.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

NUMBERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63), -(2**31))
TEXTS = (
    "",
    "x",
    "h_0",
    "nope",
    "[bold]x[/red]",
    "\x1b[31m",
    "a\x00b",
    "é" * 300,
    "../../x",
    "/etc/passwd",
    "\n",
    "`$(id)`",
)


def damaged_bytes(random: Random, content: bytes) -> bytes:
    """Flip, cut, drop, double or fill some bytes."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 5))):
        if not data:
            return bytes(data)
        start = random.randrange(len(data))
        length = min(len(data) - start, random.choice((1, 1, 4, 64, 1000)))
        kind = random.randrange(7)
        if kind == 0:
            data[start] ^= 1 << random.randrange(8)
        elif kind == 1:
            del data[start:]
        elif kind == 2:
            del data[start : start + length]
        elif kind == 3:
            data[start:start] = data[start : start + length]
        elif kind == 4:
            data[start : start + length] = bytes([random.choice((0, 255, 127, 32))]) * length
        elif kind == 5:
            data[start : start + length] = random.randbytes(length)
        else:
            data[start] = random.randrange(256)
    return bytes(data)


def damaged_onnx(random: Random, content: bytes) -> bytes:
    """Change one to three fields of an ONNX file."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        graph = model.graph if random.random() < 0.8 else _some_body(random, model.graph)
        if graph.node:
            random.choice(_ON_GRAPH)(random, graph, model)
    return bytes(model.SerializeToString())


def _some_body(random: Random, graph: Any) -> Any:
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return random.choice(bodies) if bodies else graph


def _rename(random: Random, graph: Any, _: Any) -> None:
    node = random.choice(graph.node)
    names = node.input if random.random() < 0.6 and node.input else node.output
    if names:
        names[random.randrange(len(names))] = random.choice((*TEXTS[:4], TEXTS[4], *_values(graph)))


def _values(graph: Any) -> list[str]:
    return [*(name for node in graph.node for name in node.output), *(value.name for value in graph.input)]


def _drop_node(random: Random, graph: Any, _: Any) -> None:
    if len(graph.node) > 1:
        del graph.node[random.randrange(len(graph.node))]


def _swap_nodes(random: Random, graph: Any, _: Any) -> None:
    first, second = random.randrange(len(graph.node)), random.randrange(len(graph.node))
    kept = onnx.NodeProto.FromString(graph.node[first].SerializeToString())
    graph.node[first].CopyFrom(graph.node[second])
    graph.node[second].CopyFrom(kept)


def _other_operator(random: Random, graph: Any, _: Any) -> None:
    node = random.choice(graph.node)
    node.op_type = random.choice(
        ("LSTM", "GRU", "RNN", "Add", "MatMul", "Concat", "Reshape", "Gather", "If", "Scan", "x")
    )


def _attribute(random: Random, graph: Any, _: Any) -> None:
    nodes = [node for node in graph.node if node.attribute]
    if not nodes:
        return
    node = random.choice(nodes)
    attribute = random.choice(node.attribute)
    kind = random.randrange(6)
    if kind == 0:
        attribute.s = random.choice((b"sideways", b"\xff\xfe", b"", b"reverse", b"bidirectional"))
        attribute.type = onnx.AttributeProto.STRING
    elif kind == 1:
        attribute.i = random.choice(NUMBERS)
        attribute.type = onnx.AttributeProto.INT
    elif kind == 2:
        attribute.ints.extend(random.choice(NUMBERS) for _ in range(random.randrange(4)))
    elif kind == 3:
        node.attribute.remove(attribute)
    elif kind == 4:
        attribute.type = random.randrange(15)
    else:
        attribute.name = random.choice((*TEXTS[:4], "hidden_size", "direction", "axis"))


def _tensor(random: Random, graph: Any, _: Any) -> None:
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
    if not tensors:
        return
    tensor = random.choice(tensors)
    kind = random.randrange(8)
    if kind == 0 and tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice(NUMBERS)
    elif kind == 1:
        tensor.data_type = random.choice((0, 1, 6, 7, 8, 10, 11, 16, 17, 22, 99))
    elif kind == 2:
        tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
    elif kind == 3:
        tensor.data_location = TensorProto.EXTERNAL
        location = random.choice((*TEXTS, "weights.bin", "model.onnx"))
        keys = {"location": location, "offset": str(random.choice(NUMBERS))}
        for key, value in keys.items():
            tensor.external_data.add(key=key, value=value)
        tensor.ClearField("raw_data")
    elif kind == 4 and tensor.data_type == TensorProto.INT64:
        count = len(tensor.raw_data) // 8
        tensor.raw_data = np.array([random.choice(NUMBERS) for _ in range(count)], np.int64).tobytes()
    elif kind == 5:
        tensor.name = random.choice(TEXTS)
    elif kind == 6 and tensor.dims:
        sizes = [*tensor.dims]
        random.shuffle(sizes)
        tensor.dims[:] = sizes
    elif kind == 7 and tensor.data_type == TensorProto.FLOAT and tensor.raw_data:
        number = random.choice((np.nan, np.inf, -np.inf, 1e38, 1e-45))
        tensor.raw_data = np.full(len(tensor.raw_data) // 4, number, np.float32).tobytes()


def _end(random: Random, graph: Any, _: Any) -> None:
    ends = graph.input if random.random() < 0.5 and graph.input else graph.output
    if not ends:
        return
    value = random.choice(ends)
    kind = random.randrange(6)
    dimensions = value.type.tensor_type.shape.dim
    if kind == 0 and dimensions:
        random.choice(dimensions).dim_value = random.choice(NUMBERS)
    elif kind == 1:
        value.type.tensor_type.elem_type = random.choice((0, 1, 6, 7, 8, 10, 11, 99))
    elif kind == 2:
        value.name = random.choice(TEXTS)
    elif kind == 3:
        value.type.ClearField("tensor_type")
    elif kind == 4 and dimensions:
        del dimensions[random.randrange(len(dimensions))]
    elif dimensions:
        random.choice(dimensions).dim_param = random.choice(TEXTS)


def _whole(random: Random, graph: Any, model: Any) -> None:
    kind = random.randrange(7)
    if kind == 0:
        model.opset_import[0].version = random.choice((1, 7, 10, 11, 13, 17, 22, 99, -1))
    elif kind == 1:
        model.ir_version = random.choice((0, 1, 3, 8, 13, 99))
    elif kind == 2:
        graph.ClearField("output")
    elif kind == 3:
        graph.ClearField("input")
    elif kind == 4:
        graph.ClearField("initializer")
    elif kind == 5:
        last = _values(graph)[0]
        for number in range(random.choice((10, 3000))):
            graph.node.add(op_type="Identity", input=[last], output=[f"chain{number}"])
            last = f"chain{number}"
        graph.output[0].name = last
    else:
        graph.output.extend([graph.output[0]] if graph.output else [])


_ON_GRAPH: tuple[Callable[[Random, Any, Any], None], ...] = (
    *(_rename, _rename, _drop_node, _swap_nodes, _other_operator),
    *(_attribute, _attribute, _tensor, _tensor, _tensor, _end, _end, _whole),
)


def damaged_json(random: Random, content: bytes) -> bytes:
    """Change one to three values somewhere in a JSON document."""
    document = json.loads(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        holder: Any = document
        while True:
            keys = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
            if not keys:
                break
            key = random.choice(keys)
            if isinstance(holder[key], dict | list) and holder[key] and random.random() < 0.8:
                holder = holder[key]
                continue
            kind = random.randrange(10)
            if kind == 0:
                del holder[key]
            elif kind == 1 and isinstance(holder, dict):
                holder[random.choice(TEXTS)] = holder[key]
            elif kind == 2:
                nested: Any = 0
                for _ in range(random.choice((3, 900))):
                    nested = [nested]
                holder[key] = nested
            else:
                values = (*NUMBERS, *TEXTS, None, True, [], {}, 1e308, float("inf"), float("nan"), "\ud800", 0.5)
                holder[key] = random.choice(values)
            break
    return json.dumps(document).encode()


def damaged_npz(random: Random, content: bytes) -> bytes:
    """Change the arrays of a npz, or how they are packed."""
    with np.load(io.BytesIO(content)) as archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    name = random.choice([*arrays])
    array, kind = arrays[name], random.randrange(11)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[random.choice(TEXTS) or "y"] = array
    elif kind == 2:
        arrays[name] = array.astype(
            random.choice((np.float16, np.float64, np.int8, np.uint64, np.complex64, bool, "U3"))
        )
    elif kind == 3:
        arrays[name] = array[..., None] if random.random() < 0.5 else array.ravel()
    elif kind == 4:
        arrays[name] = array[: random.choice((0, 1, len(array) // 2))] if array.ndim else np.zeros((0, 3))
    elif kind == 5:
        arrays[name] = np.array([{"a": 1}, None], object)
    elif kind == 6 and array.dtype.kind in "fi" and array.size:
        array = arrays[name] = array.copy()
        wrong = random.choice((np.nan, np.inf, 1e39) if array.dtype.kind == "f" else (-1, 10**9))
        with np.errstate(all="ignore"):
            array.flat[random.randrange(array.size)] = np.array(wrong).astype(array.dtype)
    elif kind == 7:
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()
    elif kind == 8:
        return _declaring_too_much(name)
    elif kind == 9:
        arrays[name] = np.array(3.5) if random.random() < 0.5 else np.array([(1, 2.0)], [("a", int), ("b", float)])
    buffer = io.BytesIO()
    (np.savez if random.random() < 0.5 else np.savez_compressed)(
        buffer, **{key or "y": value for key, value in arrays.items()}
    )
    data = bytearray(buffer.getvalue())
    if kind == 10:  # encrypted, says the flag of each header
        for start in range(len(data) - 8):
            if bytes(data[start : start + 4]) in (b"PK\x03\x04", b"PK\x01\x02"):
                data[start + (6 if data[start + 2] == 3 else 8)] |= 1
    return bytes(data)


def _declaring_too_much(name: str) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 12)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", header.getvalue() + bytes(1000))
    return buffer.getvalue()


def damaged_text(random: Random, content: bytes) -> bytes:
    """Change fields of a table, or lines of a definition."""
    lines = content.decode("utf-8").splitlines()
    for _ in range(random.choice((1, 1, 3))):
        if not lines:
            break
        place = random.randrange(len(lines))
        fields = lines[place].replace("=", ",=,").split(",")
        kind = random.randrange(7)
        if kind == 0:
            fields.pop()
        elif kind == 1:
            fields[random.randrange(len(fields))] = random.choice(
                (*TEXTS, *map(str, NUMBERS), "nan", "inf", "1e39", '"')
            )
        elif kind == 2:
            fields.append("9")
        elif kind == 3:
            fields[-1] = "1" * 200_000
        elif kind == 4:
            lines.insert(place, lines[place])
        elif kind == 5:
            fields = [random.choice(TEXTS)]
        else:
            fields = fields[::-1]
        lines[place] = ",".join(fields).replace(",=,", "=")
    return "\n".join(lines).encode("utf-8", errors="surrogatepass")
