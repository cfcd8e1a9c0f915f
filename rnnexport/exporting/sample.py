"""Real inputs of a module: calls that it is known to take, and what they say of the calls that are drawn.

1. A .npz holds one call, an array for each input. A .pt holds a dictionary of tensors, or a list of such; it is read by
   PyTorch's restricted unpickler, which runs no code.
2. Integers are drawn between the smallest and the largest that the calls hold, but lengths from one step to all. So are
   numbers that are never negative: relative lengths, flags, masks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.capture.inputs import InputSpec
from rnnexport.engines.contract import Feeds
from rnnexport.errors import InputError
from rnnexport.exporting.torch_files import read_torch_file
from rnnexport.files.arrays import read_npz
from rnnexport.parity.grid import Case

_PICKLES = (".pt", ".pth")


def read_calls(path: Path, inputs: Sequence[InputSpec]) -> list[Case]:
    """Read the calls in a file.

    Raises:
        InputError: The file cannot be read without running code, or what it holds does not fit the inputs.
    """
    found = _read_pickle(path) if path.suffix in _PICKLES else [read_npz(path)]
    return [Case(f"call {number} of {path.name}", _fitted(path, call, inputs)) for number, call in enumerate(found)]


def with_values_of(calls: Sequence[Case], inputs: Sequence[InputSpec]) -> list[InputSpec]:
    """The inputs with the ranges that the calls show, where none is stated."""
    return [dataclasses.replace(spec, values=spec.values or _range_of(spec, inputs, calls)) for spec in inputs]


def sizes_of(calls: Sequence[Case], inputs: Sequence[InputSpec]) -> dict[str, int]:
    """The sizes of the first call: the module takes them."""
    return _sizes(calls[0].feeds, inputs) if calls else {}


def _range_of(spec: InputSpec, inputs: Sequence[InputSpec], calls: Sequence[Case]) -> tuple[float, float] | None:
    arrays = [call.feeds[spec.name] for call in calls]
    if spec.dtype == "bool" or not all(array.size for array in arrays):
        return None
    low, high = min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)
    if "int" in spec.dtype:
        return None if _are_lengths(spec, inputs, calls, low) else (low, high)
    return (low, high) if low >= 0 and high > low else None


def _are_lengths(spec: InputSpec, inputs: Sequence[InputSpec], calls: Sequence[Case], low: float) -> bool:
    """Whether a list of integers reaches, in each call, the size of another dimension and never 0."""
    if len(spec.shape) != 1 or low < 1:
        return False
    sizes = [_sizes(call.feeds, inputs) for call in calls]
    others = [dimension for dimension in sizes[0] if dimension not in spec.shape]
    reached = [int(call.feeds[spec.name].max()) for call in calls]
    return any(all(s[d] == r for s, r in zip(sizes, reached, strict=True)) for d in others)


def _sizes(feeds: Feeds, inputs: Sequence[InputSpec]) -> dict[str, int]:
    return {
        dimension: size
        for spec in inputs
        for dimension, size in zip(spec.shape, feeds[spec.name].shape, strict=True)
        if isinstance(dimension, str)
    }


def _fitted(path: Path, call: Mapping[str, NDArray[Any]], inputs: Sequence[InputSpec]) -> Feeds:
    """One call in the inputs' types.

    Raises:
        InputError: An array is missing, too many, or of another kind or shape.
    """
    names = [spec.name for spec in inputs]
    if set(call) != set(names):
        raise InputError(f"{path} holds {', '.join(sorted(call))}; the inputs are {', '.join(names)}")
    sizes: dict[str, int] = {}
    feeds: dict[str, NDArray[Any]] = {}
    for spec in inputs:
        array = call[spec.name]
        shape_fits = len(array.shape) == len(spec.shape) and all(
            size == (sizes.setdefault(d, size) if isinstance(d, str) else d)
            for d, size in zip(spec.shape, array.shape, strict=True)
        )
        wanted = np.dtype(spec.dtype if spec.dtype != "bfloat16" else "float32")
        if not shape_fits or array.dtype.kind != wanted.kind:
            shape = ",".join(map(str, spec.shape))
            raise InputError(
                f"{path}: {spec.name!r} is {array.dtype} {list(array.shape)}, the input is {spec.dtype}[{shape}]"
            )
        feeds[spec.name] = array.astype(wanted)
    return feeds


def _read_pickle(path: Path) -> list[dict[str, NDArray[Any]]]:
    found = read_torch_file(path)
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(call, Mapping) for call in calls):
        raise InputError(f"{path} holds no dictionary of tensors, nor a list of them; save {{'x': x, 'lengths': n}}")
    return [dict(_arrays(call, "", path)) for call in calls]


def _arrays(value: Any, name: str, path: Path) -> list[tuple[str, NDArray[Any]]]:
    """The tensors of a call by dotted names: `{"hx": (h, c)}` → `hx.0`, `hx.1`."""
    import torch

    if isinstance(value, torch.Tensor):
        number = value.float() if value.dtype == torch.bfloat16 else value
        return [(name, number.detach().numpy())]
    if isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        return [found for key, item in items for found in _arrays(item, f"{name}.{key}".removeprefix("."), path)]
    raise InputError(f"{path}: {name!r} is a {type(value).__name__}, no tensor")
