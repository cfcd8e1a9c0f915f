"""A C++ class that feeds a bundle's step graph chunk by chunk: stream.h and stream.cpp.

The sources declare the few functions of ONNX Runtime's C interface that they use, by their places in its table, which
is only ever appended to: no package that brings the shared library brings its headers, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnexport.bundle.manifest import Manifest, StepGraphInfo, TensorInfo
from rnnexport.errors import ExportError
from rnnexport.versions import tool_versions

_TYPES = {
    "float32": ("float", 1),
    "uint8": ("uint8_t", 2),
    "int8": ("int8_t", 3),
    "uint16": ("uint16_t", 4),
    "int16": ("int16_t", 5),
    "int32": ("int32_t", 6),
    "int64": ("int64_t", 7),
    "bool": ("bool", 9),
    "float64": ("double", 11),
    "uint32": ("uint32_t", 12),
    "uint64": ("uint64_t", 13),
}
"""The type in C++, and ONNX's number for it."""
_RESERVED = frozenset(
    word
    for line in (
        "and asm auto bool break case catch char class const continue default delete do double else enum explicit",
        "extern false float for friend goto if inline int linux long mutable namespace new not operator or private",
        "protected public register return short signed sizeof static std struct switch template this throw true try",
        "typedef typeid typename union unix unsigned using virtual void volatile while xor",
        "Model Outputs Stream Tensor",
    )
    for word in line.split()
)
"""Words of C++, of compilers and of the sources themselves."""


def write_cpp(manifest: Manifest, folder: Path) -> None:
    """Write stream.h and stream.cpp into `folder`.

    Raises:
        ExportError: The step graph takes more than one series, or numbers of a type that C++ lacks.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    assert manifest.step is not None
    environment = Environment(
        loader=PackageLoader("rnnexport.exporting"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    facts = _facts(manifest, manifest.step)
    for name in ("stream.h", "stream.cpp"):
        text = environment.get_template(f"{name}.jinja").render(facts)
        (folder / name).write_text(text, encoding="utf-8")


def _facts(manifest: Manifest, step: StepGraphInfo) -> dict[str, Any]:
    pairs = dict(manifest.state_pairs)
    series = [info for info in step.inputs if info.name not in pairs]
    if len(series) != 1 or series[0].time_axis is None:
        names = ", ".join(info.name for info in series)
        raise ExportError(f"a stream in C++ feeds one series, and the step graph takes {names}")
    if free := [size for size in series[0].shape if size not in _sizes(step) and isinstance(size, str)]:
        raise ExportError(f"a stream in C++ has chunks of one width, and {series[0].name!r} leaves {free[0]!r} open")
    wanted = [info for info in step.outputs if info.name in {output.name for output in manifest.outputs}]
    states = [info for info in step.inputs if info.name in pairs]
    results = list(dict.fromkeys([*(info.name for info in wanted), *(pairs[info.name] for info in states)]))
    fields = _identifiers([info.name for info in wanted])
    (namespace,) = _identifiers([manifest.name])
    return {
        "name": _literal(manifest.name),
        "version": tool_versions()["rnnexport"],
        "namespace": namespace,
        "batch": bool(step.batch_dimension),
        "chunk": _tensor(series[0], step),
        "inputs": [_literal(info.name) for info in (series[0], *states)],
        "states": [_tensor(info, step) | {"next": results.index(pairs[info.name])} for info in states],
        "results": [_literal(name) for name in results],
        "outputs": [_tensor(info, step) | {"field": field} for info, field in zip(wanted, fields, strict=True)],
    }


def _sizes(step: StepGraphInfo) -> dict[str, str]:
    """What the sources call the dynamic dimensions."""
    return {step.time_dimension: "steps", step.batch_dimension: "streams"}


def _tensor(info: TensorInfo, step: StepGraphInfo) -> dict[str, Any]:
    """What the sources say of an input or output."""
    if info.dtype not in _TYPES:
        raise ExportError(f"{info.name!r} is {info.dtype}, which C++ has no type for")
    words = _sizes(step)
    other = "streams" if info.role == "state" else None
    sizes = [str(size) if isinstance(size, int) else words.get(size) or other or size for size in info.shape]
    kind, element = _TYPES[info.dtype]
    return {
        "literal": _literal(info.name),
        "type": kind,
        "element": element,
        "sizes": ", ".join(sizes),
        "shape": f"[{', '.join(sizes)}]",
    }


def _literal(text: str) -> str:
    """A string of C++."""
    return json.dumps(text, ensure_ascii=False)


def _identifiers(names: Sequence[str]) -> list[str]:
    """Names in C++, all different."""
    found: list[str] = []
    for name in names:
        word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "model"
        word = f"{word}_" if word in _RESERVED or word in found else word
        word = f"_{word}"[word[0].isalpha() :]
        while word in found:
            word += "_"
        found.append(word)
    return found
