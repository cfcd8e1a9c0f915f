"""Joins a model's weights to the arrays of its file; every weight gets one, and every array is used.

A `.keras` file keeps them by the model's structure: `layers/lstm_1/cell/vars/0`, where `lstm_1` counts classes, not
names. A `.h5` file keeps a list for each layer of the outermost model: those that training changes, then the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.errors import InputError
from rnnexport.keras_files.archive import KerasFile, explained, member, read_array, texts

if TYPE_CHECKING:
    import h5py

Array = NDArray[np.floating[Any]]
_ROOTS = ("layers", "_layer_checkpoint_dependencies")
"""What Keras 3 and Keras 2.12 to 2.15 call the layers of a model in a `.keras` file."""
_NOT_WEIGHTS = ("optimizer", "seed_generator", "metrics", "compile_metrics", "loss_tracker")
"""What a file may hold beside the weights: what training goes on from."""


@dataclass(eq=False, slots=True)
class Weight:
    """One weight of a layer; `value` is there once it was joined."""

    owner: tuple[str, ...]
    """Where it lies in a `.keras` file, such as ("layers", "lstm_1", "cell")."""
    index: int
    """Its place among its owner's."""
    layer: str
    """The layer of the outermost model that it belongs to, by name."""
    name: str
    shape: tuple[int, ...]
    """In the file."""
    trainable: bool
    arrange: Callable[[Array], Array] | None = None
    """Makes `value` of what the file holds, where that is arranged in another way."""
    whole: bool = False
    """Whether it may be a whole number."""
    value: Array = field(default_factory=lambda: np.empty(0))


def join(file: KerasFile, weights: Sequence[Weight], names: dict[tuple[str, ...], str]) -> None:
    """Give every weight its array.

    Args:
        file: Where the arrays are.
        weights: All weights of the model, in Keras's order.
        names: The name of the layer at each place in a `.keras` file, which must be the one that stands there.

    Raises:
        InputError: An array is missing, surplus, of another shape, not finite, or belongs to another layer.
    """
    with explained(file.path):
        arrays = _from_archive(file, weights, names) if file.is_archive else _from_h5(file, weights)
        for weight, (place, dataset) in zip(weights, arrays, strict=True):
            array = read_array(file.path, dataset, place, whole=weight.whole)
            if array.shape != weight.shape:
                raise InputError(
                    f"{file.path}: {place} of layer {weight.layer!r} is {list(array.shape)}, the layer's {weight.name} "
                    f"is {list(weight.shape)}"
                )
            weight.value = array if weight.arrange is None else weight.arrange(array)


def _from_archive(
    file: KerasFile, weights: Sequence[Weight], names: dict[tuple[str, ...], str]
) -> Iterator[tuple[str, Any]]:
    root = next((name for name in _ROOTS if member(file.path, file.weights, name) is not None), _ROOTS[0])
    for owner, name in names.items():
        found = member(file.path, file.weights, "/".join([*_renamed(owner, root), "vars"]))
        if found is not None and (kept := found.attrs.get("name", name)) != name:
            place = "/".join(_renamed(owner, root))
            raise InputError(f"{file.path}: the weights at {place} are those of {str(kept)!r}, not of {name!r}")
    used = set()
    for weight in weights:
        place = "/".join([*_renamed(weight.owner, root), "vars", str(weight.index)])
        dataset = member(file.path, file.weights, place)
        if dataset is None:
            raise InputError(f"{file.path}: the {weight.name} of layer {weight.layer!r} is missing ({place})")
        used.add(place)
        yield place, dataset
    _check_all_used(file, used)


def _check_all_used(file: KerasFile, used: set[str]) -> None:
    if surplus := sorted(set(_arrays(file, file.weights, "")) - used):
        raise InputError(f"{file.path}: {surplus[0]} belongs to no weight of the model")


def _renamed(owner: tuple[str, ...], root: str) -> list[str]:
    return [root if part == _ROOTS[0] else part for part in owner]


def _arrays(file: KerasFile, group: h5py.Group, prefix: str) -> Iterator[str]:
    for name in group:
        if name in _NOT_WEIGHTS:
            continue
        found = member(file.path, group, name)
        if hasattr(found, "keys"):
            yield from _arrays(file, found, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}"


def _from_h5(file: KerasFile, weights: Sequence[Weight]) -> list[tuple[str, Any]]:
    """Arrays in the order of `weights`."""
    by_layer: dict[str, list[Weight]] = {name: [] for name in texts(file.weights, "layer_names")}
    for weight in weights:
        if weight.layer not in by_layer:
            raise InputError(f"{file.path}: the weights of layer {weight.layer!r} are missing")
        by_layer[weight.layer].append(weight)
    found = {}
    for layer, own in by_layer.items():
        group = member(file.path, file.weights, layer)
        names = texts(group, "weight_names") if group is not None else []
        if len(names) != len(own):
            raise InputError(f"{file.path}: layer {layer!r} has {len(own)} weights, the file holds {len(names)}")
        for weight, name in zip(sorted(own, key=lambda each: not each.trainable), names, strict=True):
            # kernel:0, lstm_cell/kernel:0, and kernel_1:0 where a name was taken
            if re.sub(r"(_\d+)?(:0)?$", "", name.rpartition("/")[2]) != weight.name:
                raise InputError(f"{file.path}: {name} of layer {layer!r} stands where its {weight.name} should be")
            found[weight] = (f"{layer}/{name}", member(file.path, group, name))
    _check_all_used(file, {place for place, _ in found.values()})
    return [found[weight] for weight in weights]
