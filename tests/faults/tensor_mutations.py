"""Damage to files of weights, and to tables in Parquet."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import torch

from tests.faults.mutations import NUMBERS, TEXTS, damaged_bytes, damaged_json

_DTYPES = ("F32", "F16", "BF16", "F64", "I64", "BOOL", "F8_E4M3", "C64", "nope")


def damaged_safetensors(random: Random, content: bytes) -> bytes:
    """Change the header of a safetensors file, or the bytes behind it."""
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size], content[8 + size :]
    kind = random.randrange(6)
    if kind < 2:
        header = damaged_json(random, header)
    elif kind < 4:
        described = json.loads(header)
        name = random.choice([name for name in described if name != "__metadata__"])
        key = random.choice(("dtype", "shape", "data_offsets"))
        numbers = [random.choice((*NUMBERS, 3, len(data))) for _ in range(random.choice((1, 2, 2, 3)))]
        described[name][key] = random.choice(_DTYPES) if key == "dtype" else numbers
        header = json.dumps(described).encode()
    elif kind == 4:
        number = random.choice((0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1))
        return number.to_bytes(8, "little") + header + data
    else:
        data = damaged_bytes(random, data)
    return len(header).to_bytes(8, "little") + header + data


class _Payload:
    """What runs code where a pickle is opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (Path("ran"), "code")


def damaged_torch_file(random: Random, weights: dict[str, torch.Tensor]) -> bytes:
    """Save weights as a `.pt` file with one of them changed, something else in their place, or damaged."""
    state: Any = dict(weights)
    name, kind = random.choice([*weights]), random.randrange(12)
    tensor = weights[name]
    if kind == 0:
        del state[name]
    elif kind == 1:
        state[random.choice((*TEXTS, 3))] = tensor
    elif kind == 2:
        dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.complex64)
        state[name] = tensor.to(random.choice(dtypes))
    elif kind == 3:
        state[name] = random.choice((tensor[..., None], tensor[:0], tensor.ravel()[:1], tensor.to_sparse()))
    elif kind == 4:
        state[name] = torch.full_like(tensor, random.choice((float("nan"), float("inf"), 1e38)))
    elif kind == 5:
        state[name] = random.choice((None, 3, "x", [tensor], tensor.numpy(), torch.empty(2, 3, device="meta")))
    elif kind == 6:
        state = random.choice(({"state_dict": state}, {"model": {"x": state}}, [state], tensor, {}, None, 3))
    elif kind == 7:
        state[random.choice((name, "hook"))] = _Payload()
    elif kind == 8:
        state = torch.nn.GRU(3, 4)
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=random.random() < 0.8)
    content = buffer.getvalue()
    if kind < 9:
        return content
    return _damaged_pickle(random, content) if kind == 9 else damaged_bytes(random, content)


def _damaged_pickle(random: Random, content: bytes) -> bytes:
    """The same archive with its pickle, or another part, damaged."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return damaged_bytes(random, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in parts if name.endswith(".pkl")]
    name = random.choice((*names, *names, *parts))
    parts[name] = damaged_bytes(random, parts[name])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    return buffer.getvalue()


def damaged_parquet(random: Random, table: dict[str, list[Any]]) -> bytes:
    """Write a table as Parquet with one column of other things, or damaged."""
    rows = len(next(iter(table.values())))
    columns: dict[str, Any] = dict(table)
    name, kind = random.choice([*table]), random.randrange(9)
    if kind == 0:
        del columns[name]
    elif kind == 1:
        columns[name] = [random.choice((*NUMBERS[:10], 0.5)) for _ in range(rows)]
    elif kind == 2:
        columns[name] = [random.choice(TEXTS[:5]) for _ in range(rows)]
    elif kind == 3:
        columns[name] = [[1.0, 2.0]] * rows
    elif kind == 4:
        columns[name] = pd.date_range("2020-01-01", periods=rows)
    elif kind == 5:
        columns[name] = [None, *[1.0] * (rows - 1)]
    elif kind == 6:
        columns[name] = np.array([random.choice((np.nan, np.inf, 1e39, True)) for _ in range(rows)], np.float64)
    elif kind == 7:
        columns[name] = [{"x": 1, "y": [2]}] * rows
    frame = pd.DataFrame(columns)
    frame = frame.iloc[: random.choice((0, 1, rows))] if random.random() < 0.2 else frame
    buffer = io.BytesIO()
    frame.to_parquet(buffer, compression=random.choice(("snappy", "gzip", None)))
    return damaged_bytes(random, buffer.getvalue()) if kind == 8 or random.random() < 0.2 else buffer.getvalue()
