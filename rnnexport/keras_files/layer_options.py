"""One layer's options, read by an allow-list: what is not asked for is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from rnnexport.errors import ExportError
from rnnexport.keras_files.activations import ACTIVATION_LAYERS, Activation, read_activation
from rnnexport.keras_files.weights import Array, Weight

_REQUIRED = object()
_OF_TRAINING = ("_initializer", "_regularizer", "_constraint")
_WITHOUT_EFFECT = frozenset(
    ("name", "trainable", "seed", "batch_input_shape", "batch_shape", "input_shape", "autocast", "build_config")
)
_POLICIES = ("float32", "float64", "mixed_float16", "mixed_bfloat16", "bool")
"""Of layers and, the last one, of operations on masks."""


class LayerOptions:
    """The configuration of one layer, each option read once.

    Args:
        class_name: Such as `LSTM`.
        config: What the file says.
        owner: Where the layer's weights lie in a `.keras` file.
        layer: The layer of the outermost model that it is or belongs to.
        keras_2: Whether the file is one of Keras 2, some of whose functions are others.
        add_weight: Is told every weight, in Keras's order.
    """

    def __init__(
        self,
        class_name: str,
        config: Mapping[str, Any],
        owner: tuple[str, ...],
        layer: str,
        *,
        keras_2: bool,
        add_weight: Callable[[Weight], None],
    ) -> None:
        self.class_name, self.owner, self.layer, self.keras_2 = class_name, owner, layer, keras_2
        self._add_weight = add_weight
        self._config = dict(config)
        self.name = str(config.get("name", class_name.lower()))
        self._trainable = bool(config.get("trainable", True))
        self._weights = 0
        self._check_policy()

    def _check_policy(self) -> None:
        policy = self._config.pop("dtype", None) or "float32"
        while isinstance(policy, Mapping):  # {"class_name": "DTypePolicy", "config": {"name": "float32"}}
            policy = policy["config"] if "config" in policy else policy.get("name", policy.get("mode", "another type"))
        if policy not in _POLICIES and self.class_name != "Embedding":
            self.refuse(f"it computes in {policy}; float32 and float64 can be exported")
        self.narrow = policy.removeprefix("mixed_") if str(policy).startswith("mixed_") else None
        """What Keras computes it in, where that is narrower than its weights."""

    def refuse(self, reason: str) -> NoReturn:
        """Refuse the layer.

        Raises:
            ExportError: Always, with its name and class.
        """
        raise ExportError(f"layer {self.name!r} ({self.class_name}): {reason}")

    def value(self, key: str, default: Any = _REQUIRED) -> Any:
        """An option as the file says it."""
        found = self._config.pop(key, default)
        if found is _REQUIRED:
            self.refuse(f"its option {key!r} is missing")
        return found

    def whole(self, key: str, default: Any = _REQUIRED, least: int = 1) -> int:
        """A whole number, or the only one in a list."""
        found = self.value(key, default)
        if isinstance(found, list | tuple) and len(found) == 1:
            found = found[0]
        if not isinstance(found, int) or isinstance(found, bool) or found < least:
            self.refuse(f"its option {key!r} is {found!r}, not a whole number of at least {least}")
        return found

    def axis(self, key: str, rank: int, default: int = -1) -> int:
        """An axis, counted from 0."""
        found = self.whole(key, default, least=-rank)
        if found >= rank:
            self.refuse(f"its axis {found} is not one of an input of {rank} dimensions")
        return found % rank

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """A number; Keras also writes arrays of one."""
        found = self.value(key, default)
        if isinstance(found, Mapping):
            found = found.get("config", {}).get("value")
        if not isinstance(found, int | float):
            self.refuse(f"its option {key!r} is {found!r}, not a number")
        return float(found)

    def numbers(self, key: str, default: Any = _REQUIRED) -> Array:
        """A number, or an array of some."""
        found = self.value(key, default)
        if isinstance(found, Mapping):  # {"class_name": "__numpy__", "config": {"value": [1.0, 2.0], …}}
            found = found.get("config", {}).get("value")
        try:
            numbers = np.array(found, np.float64)
        except (TypeError, ValueError):
            numbers = np.array(np.nan)
        if not np.isfinite(numbers).all():
            self.refuse(f"its option {key!r} is {found!r}, not a number or an array of some")
        return numbers

    def constant(self, key: str, shape: tuple[int, ...]) -> Weight | None:
        """A weight that stands in the configuration, `None` where it does not."""
        if self._config.get(key) is None:
            self.ignore(key)
            return None
        numbers = self.numbers(key)
        try:
            value = np.broadcast_to(numbers, shape)
        except ValueError:
            self.refuse(f"its option {key!r} has the shape {list(numbers.shape)}, its input's axes have {list(shape)}")
        return Weight(self.owner, 0, self.layer, key, shape, trainable=False, value=value)

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """True or false."""
        found = self.value(key, default)
        if not isinstance(found, bool):
            self.refuse(f"its option {key!r} is {found!r}, not true or false")
        return found

    def choice(self, key: str, allowed: tuple[Any, ...], default: Any = _REQUIRED) -> Any:
        """One of `allowed`."""
        found = self.value(key, default)
        if found not in allowed:
            self.refuse(f"its option {key}={found!r} is not supported; {', '.join(map(repr, allowed))} can be exported")
        return found

    def ignore(self, *keys: str) -> None:
        """Pass over options that change nothing in inference."""
        for key in keys:
            self._config.pop(key, None)

    def activation(self, key: str, default: str = "linear") -> Activation:
        """An activation by name, or by a layer that is one."""
        found = self._config.pop(key, default)
        if isinstance(found, Mapping) and found.get("class_name") in ACTIVATION_LAYERS:
            inner = self.inner(str(found["class_name"]), found.get("config", {}), ())
            activation = ACTIVATION_LAYERS[inner.class_name](inner)
            inner.finish()
            return activation
        name = found.get("config") if isinstance(found, Mapping) else found
        activation_or_none = read_activation("linear" if name is None else str(name), keras_2=self.keras_2)
        if activation_or_none is None:
            self.refuse(f"its {key} {name!r} is not one of Keras's that can be exported")
        return activation_or_none

    def inner(self, class_name: str, config: Mapping[str, Any], path: tuple[str, ...]) -> LayerOptions:
        """The options of a layer inside this one, whose weights lie at `path` below this one's."""
        return LayerOptions(
            class_name,
            {"trainable": self._trainable, **config},
            (*self.owner, *path),
            self.layer,
            keras_2=self.keras_2,
            add_weight=self._add_weight,
        )

    def with_weights_at(self, *path: str) -> LayerOptions:
        """The same options, for weights that lie at `path` below this layer's."""
        view = copy.copy(self)
        view.owner, view._weights = (*self.owner, *path), 0
        return view

    def inner_of(self, key: str, path: tuple[str, ...]) -> LayerOptions:
        """The options of the layer that stands in the option `key`."""
        found = self.value(key)
        if not isinstance(found, Mapping) or not isinstance(found.get("config"), Mapping):
            self.refuse(f"its option {key!r} describes no layer")
        return self.inner(str(found.get("class_name")), found["config"], path)

    def weight(
        self,
        name: str,
        shape: tuple[int | str, ...],
        *,
        trainable: bool = True,
        arrange: Callable[[Array], Array] | None = None,
        whole: bool = False,
    ) -> Weight:
        """Declare the layer's next weight, in the order in which Keras creates them."""
        sizes = tuple(size for size in shape if isinstance(size, int))
        if len(sizes) != len(shape):
            raise SizeNeededError(next(size for size in shape if isinstance(size, str)), self.name, self.class_name)
        trainable = trainable and self._trainable
        weight = Weight(self.owner, self._weights, self.layer, name, sizes, trainable, arrange, whole)
        self._weights += 1
        self._add_weight(weight)
        return weight

    def finish(self) -> None:
        """Refuse what was not asked for.

        Raises:
            ExportError: An option is left.
        """
        left = [k for k in self._config if k not in _WITHOUT_EFFECT and not k.endswith(_OF_TRAINING)]
        if left:
            self.refuse(f"its option {left[0]}={self._config[left[0]]!r} is not known; it may change what is computed")


class SizeNeededError(Exception):
    """A layer needs to know the size of a dimension that was left open."""

    def __init__(self, dimension: str, name: str, class_name: str) -> None:
        super().__init__(dimension)
        self.dimension, self.name, self.class_name = dimension, name, class_name
