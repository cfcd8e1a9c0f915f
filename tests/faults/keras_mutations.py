"""Damage to Keras files: to what describes the model, to its weights, and to how both are packed."""

from __future__ import annotations

import contextlib
import io
import zipfile
from random import Random
from typing import Any

import h5py
import numpy as np

from tests.faults.mutations import NUMBERS, TEXTS, damaged_bytes, damaged_json

_WEIGHTS = "model.weights.h5"


def damaged_keras(random: Random, content: bytes) -> bytes:
    """Change a `.keras` file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(("config.json", "config.json", _WEIGHTS, _WEIGHTS, "metadata.json"))
    kind = random.randrange(12)
    if kind < 7:
        parts[name] = (damaged_hdf5 if name == _WEIGHTS else damaged_json)(random, parts[name])
    elif kind == 7:
        parts[name] = damaged_bytes(random, parts[name])
    elif kind == 8:
        del parts[name]
    elif kind == 9:
        parts[random.choice(("../escaped", "/tmp/escaped", "assets/../../escaped", "config.json/x"))] = b"escaped"
    elif kind == 10:
        parts[name] += random.choice((b" ", b"\0")) * 2**23
    buffer = io.BytesIO()
    packing = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    packed = buffer.getvalue()
    return packed if kind != 11 else damaged_bytes(random, packed)


def damaged_h5(random: Random, content: bytes) -> bytes:
    """Change a whole model in a `.h5` file."""
    if random.random() < 0.4:
        return damaged_hdf5(random, content)
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        text = file.attrs["model_config"]
        described = damaged_json(random, text.encode() if isinstance(text, str) else bytes(text))
        del file.attrs["model_config"]
        file.attrs.create("model_config", np.bytes_(described)) if len(described) < 60_000 else None
    return buffer.getvalue()


def damaged_hdf5(random: Random, content: bytes) -> bytes:
    """Change one to three groups, arrays or attributes of an HDF5 file."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for _ in range(random.choice((1, 1, 2, 3))):
            places: list[str] = []
            file.visit(places.append)
            if not places:
                break
            place = random.choice(places)
            with contextlib.suppress(OSError, ValueError, KeyError):  # h5py does not write every damage
                if random.random() < 0.25:
                    _damage_attribute(random, file[place])
                else:
                    _damage_place(random, file, place)
    return buffer.getvalue() if random.random() < 0.9 else damaged_bytes(random, buffer.getvalue())


def _damage_attribute(random: Random, node: Any) -> None:
    name = random.choice([*node.attrs, "name", "weight_names", "layer_names", "layer_names0"])
    value = random.choice((*TEXTS[:4], *NUMBERS[:8], [b"x", b"y"], [1.5, 2.5], b"\xff\xfe", [], [TEXTS[4]] * 300))
    if random.random() < 0.3:
        node.attrs.pop(name, None)
    else:
        node.attrs[name] = value


def _damage_place(random: Random, file: h5py.File, place: str) -> None:
    node, kind = file[place], random.randrange(12)
    shape = node.shape if isinstance(node, h5py.Dataset) else (2, 3)
    if kind == 0:
        file[f"{place}{random.choice(('/x', '_1', '/../y'))}"] = np.zeros(shape)
        return
    if kind == 1:
        file[f"{place if isinstance(node, h5py.Group) else node.parent.name}/again"] = file[node.parent.name]
        return
    del file[place]
    if kind == 2:
        file[place] = h5py.SoftLink(random.choice((place, "/", "/nowhere")))
    elif kind == 3:
        file[place] = h5py.ExternalLink(random.choice(("/etc/passwd", "model.keras", "/dev/zero")), "/")
    elif kind == 4:
        wrong = random.choice((np.nan, np.inf, 1e39, -1e39))
        file[place] = np.full(shape, wrong)
    elif kind == 5:
        file[place] = np.zeros(shape, random.choice(("i4", "c8", "f2", "f8", "S3", "?", "u1")))
    elif kind == 6:
        file[place] = np.zeros([*shape, 1] if random.random() < 0.5 else shape[:-1], np.float32)
    elif kind == 7:
        sizes = random.choice(((2**40,), (2**20, 2**20), (3, 10**9), (2**63 - 1,)))
        file.create_dataset(place, shape=sizes, dtype="f4", chunks=(1,) * len(sizes))
    elif kind == 8:
        file.create_dataset(place, data=np.zeros((2**10, 2**11), np.float32), compression="gzip", chunks=True)
    elif kind == 9:
        file.create_dataset(place, shape, "f4", external=[(random.choice(("/etc/hostname", "/dev/zero")), 0, 2**20)])
    elif kind == 10:
        file.create_dataset(place, data=[TEXTS[1]] * 3, dtype=h5py.string_dtype())
    elif random.random() < 0.5:
        file.create_group(place)
