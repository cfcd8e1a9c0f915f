"""A file's configuration as a typed model.

1. Classes and their options are read by an allow-list; what is not known is refused with the layer's name.
2. Models inside models are taken apart, and `TimeDistributed` becomes a change of shape around its layer.
3. Masks become tensors like others, made, passed on and dropped where Keras does so.
4. Batch and time are left open, also where the file names a size: a recurrent layer has none. Where a layer needs to
   know it, as Flatten before Dense does, the file's size stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from rnnexport.errors import ExportError
from rnnexport.keras_files.archive import KerasFile
from rnnexport.keras_files.configuration import (
    MODELS,
    LayerConfig,
    Reference,
    check_origins,
    declared_shape,
    first_call,
    input_kind,
    layer_configs,
    references,
    refuse,
    refuse_class,
)
from rnnexport.keras_files.layer_calls import CallArguments, LayerCalls
from rnnexport.keras_files.layer_options import SizeNeededError
from rnnexport.keras_files.layers.dense import Pass
from rnnexport.keras_files.layers.layer import KerasLayer, SameSizeError, Shape
from rnnexport.keras_files.layers.masks import MASK_OPERATIONS, NotEqual
from rnnexport.keras_files.layers.operations import ARITHMETIC, ArithmeticOperation, read_operation, read_part
from rnnexport.keras_files.model import Kind, Model, Tensor
from rnnexport.keras_files.weights import join

_BATCH, _TIME = "batch", "time"
_QUIET_KEYWORDS = ("training", "mask", "initial_state", "use_causal_mask", "return_attention_scores", "constants")
_OF_ATTENTION = ("query", "value", "key")
"""What a MultiHeadAttention is called with, in this order."""


def read_model(file: KerasFile) -> Model:
    """Read the model of a file, weights included, and close the file.

    Raises:
        ExportError: It holds a class, an option or a call that cannot be exported; the layer is named.
        InputError: Its configuration contradicts itself, or its weights do not fit.
    """
    try:
        builder, model = _build(file)
        join(file, model.weights, builder.calls.names)
    finally:
        file.close()
    return model


def _build(file: KerasFile) -> tuple[_Builder, Model]:
    """Build the model, again for each size that it turns out to need."""
    fixed: dict[str, int] = {}
    same: dict[str, str] = {}
    while True:  # each turn learns one size more
        try:
            builder = _Builder(file, fixed, same)
            return builder, builder.build()
        except SizeNeededError as exc:
            if not builder.fix(exc.dimension, fixed):
                raise ExportError(
                    f"layer {exc.name!r} ({exc.class_name}) needs to know how many time steps there are, and the file "
                    "does not say; give them to keras.Input(shape=...)"
                ) from exc
        except SameSizeError as exc:
            builder.unite(exc, fixed, same)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError) as exc:
            raise ExportError(
                f"{file.path}: its configuration contradicts itself ({type(exc).__name__}: {exc})"
            ) from exc


class _Builder:
    """Builds a model, with what is known of its open dimensions."""

    def __init__(self, file: KerasFile, fixed: dict[str, int], same: dict[str, str]) -> None:
        self._file, self._fixed, self._same = file, fixed, same
        self._declared: dict[str, int] = {}
        self._time_major = _has_time_major(file.config)
        self._model = Model(file.path.stem)
        keras_2 = file.keras_version.startswith(("1.", "2."))
        self.calls = LayerCalls(self._model, self._run_inner, keras_2=keras_2)

    def build(self) -> Model:
        """Build the outermost model."""
        class_name, config = str(self._file.config.get("class_name")), self._file.config.get("config")
        if class_name not in MODELS:
            raise ExportError(
                f"the model is a class of its own, {class_name!r}, whose code is not in the file; only Sequential and "
                "Functional models can be exported"
            )
        check_origins(config)
        config = {"layers": config} if isinstance(config, list) else cast("Mapping[str, Any]", config)
        outputs = self._run(class_name, config, (), None, None)
        if not self._model.inputs or not outputs:
            missing = "outputs" if self._model.inputs else "inputs"
            raise ExportError(f"{self._file.path}: its configuration names no {missing}")
        taken = {tensor.name for tensor in self._model.inputs}
        for output in outputs:
            own = self.calls.emit(output.name, Pass(), [output], output.kind)[0] if output.name in taken else output
            taken.add(own.name)
            self._model.outputs.append(own)
        return self._model

    # Dimensions

    def fix(self, dimension: str, fixed: dict[str, int]) -> bool:
        """Fix the open dimension that one was computed from, if the file names its size; returns whether it does."""
        name = next((name for name in sorted(self._declared, key=len, reverse=True) if name in dimension), None)
        if name is not None:
            fixed[name] = self._declared[name]
        return name is not None

    def unite(self, exc: SameSizeError, fixed: dict[str, int], same: dict[str, str]) -> None:
        """Take two open dimensions for one, or for what the file says."""
        inputs = {size for tensor in self._model.inputs for size in tensor.shape if isinstance(size, str)} - {_BATCH}
        if isinstance(exc.second, int):
            if exc.first in inputs:
                fixed[exc.first] = exc.second
                return
        elif {exc.first, exc.second} <= inputs:
            same[exc.second] = exc.first
            return
        if not self.fix(exc.first, fixed) and not self.fix(str(exc.second), fixed):
            raise ExportError(f"two layers' outputs of {exc.first} and {exc.second} steps are merged") from exc

    def _input_shape(self, name: str, sizes: Sequence[int | None], *, tokens: bool) -> Shape:
        number = len(self._model.inputs) + 1
        time = _TIME if number == 1 else f"{_TIME}_{number}"
        has_steps = len(sizes) > 2 or tokens
        names = [_BATCH, time] if has_steps else [_BATCH]
        if self._time_major and has_steps:
            names.reverse()
        shape: list[int | str] = []
        for axis, size in enumerate(sizes):
            symbol = names[axis] if axis < len(names) else f"{name}_{axis}"
            if symbol == _BATCH:
                shape.append(_BATCH)
            elif size is not None and symbol != time:
                shape.append(size)
            else:
                if size is not None:
                    self._declared[symbol] = size
                while symbol in self._same:
                    symbol = self._same[symbol]
                shape.append(self._fixed.get(symbol, symbol))
        return tuple(shape)

    # Models

    def _run(
        self,
        class_name: str,
        config: Mapping[str, Any],
        owner: tuple[str, ...],
        top: str | None,
        inputs: list[Tensor] | None,
    ) -> list[Tensor]:
        """Call a model; without `inputs`, its own become the whole model's."""
        layers = list(layer_configs(class_name, config["layers"], owner, top))
        if class_name == "Sequential":
            return self._run_sequential(config, layers, inputs)
        return self._run_functional(config, layers, inputs)

    def _run_inner(self, layer: LayerConfig, inputs: list[Tensor]) -> list[Tensor]:
        """Call a model within a model."""
        return self._run(layer.class_name, layer.config, layer.owner, layer.top, inputs)

    def _run_sequential(
        self,
        config: Mapping[str, Any],
        layers: list[tuple[LayerConfig, Mapping[str, Any]]],
        inputs: list[Tensor] | None,
    ) -> list[Tensor]:
        if not layers:
            raise ExportError(f"model {config.get('name')!r} has no layers")
        first = layers[0][0]
        if first.class_name == "InputLayer":
            layers = layers[1:]
        if inputs is None:
            shape = declared_shape(first.config) or config.get("build_input_shape")
            if shape is None:
                raise ExportError(
                    f"model {config.get('name')!r} has no input shape; add keras.Input(shape=...) as its first layer"
                )
            tokens = bool(layers) and layers[0][0].class_name == "Embedding"
            suffix = "" if first.class_name == "InputLayer" else "_input"
            inputs = [self._add_input(first.name + suffix, shape, input_kind(first.config), tokens=tokens)]
        for layer, _ in layers:
            inputs = self.calls.call(layer, CallArguments(inputs))
        return inputs

    def _run_functional(
        self,
        config: Mapping[str, Any],
        layers: list[tuple[LayerConfig, Mapping[str, Any]]],
        inputs: list[Tensor] | None,
    ) -> list[Tensor]:
        known: dict[Reference, Tensor] = {}
        by_name = {layer.name: layer for layer, _ in layers}
        tokens = {
            name
            for layer, found in layers
            if layer.class_name == "Embedding"
            for node in found["inbound_nodes"]
            for name, _, _ in references(node)
        }
        for number, (name, *_) in enumerate(references(config["input_layers"])):
            layer = by_name[name]
            if inputs is None:
                shape = declared_shape(layer.config)
                if shape is None:
                    raise ExportError(f"input {name!r} has no shape")
                given = self._add_input(name, shape, input_kind(layer.config), tokens=name in tokens)
            else:
                given = inputs[number]
            known[name, 0, 0] = given
        named = references([config["output_layers"], *(found["inbound_nodes"] for _, found in layers)])
        waiting = [
            (layer, number, node)
            for layer, found in layers
            for number, node in enumerate(found["inbound_nodes"], first_call(layer, named))
        ]
        while waiting:
            ready = [each for each in waiting if all(reference in known for reference in references(each[2]))]
            if not ready:
                raise ExportError(f"layer {waiting[0][0].name!r}: its inputs are given by no layer of the file")
            for layer, number, node in ready:
                for index, output in enumerate(self._call_node(layer, node, known)):
                    known[layer.name, number, index] = output
            waiting = [each for each in waiting if each not in ready]
        return [known[reference] for reference in references(config["output_layers"])]

    def _add_input(self, name: str, sizes: Sequence[int | None], kind: Kind, *, tokens: bool) -> Tensor:
        if tokens and kind == "float":  # Keras's default, which its Embedding casts
            kind = "int64"
        tensor = Tensor(
            self.calls.fresh_name(name), self._input_shape(name, sizes, tokens=tokens or kind != "float"), kind
        )
        self._model.inputs.append(tensor)
        return tensor

    # Calls

    def _call_node(self, layer: LayerConfig, node: Any, known: Mapping[Reference, Tensor]) -> list[Tensor]:
        """Call a layer as one node of a Functional model says."""
        if layer.class_name.endswith("OpLambda"):  # whose nodes are written in another way
            refuse_class(layer)
        if isinstance(node, Mapping):
            args, keywords = list(node["args"]), dict(node["kwargs"])
        else:  # Keras 2: [[name, node, tensor, keywords], …]
            args = [[each[:3] for each in node]]
            keywords = {k: v for each in node for k, v in (each[3] if len(each) > 3 else {}).items() if v is not None}
        tensors = [known[reference] for argument in args for reference in references(argument)]
        if layer.class_name == "NotEqual":
            return self.calls.emit(layer.name, NotEqual(float(args[1])), tensors, "bool")
        if _is_operation(layer) and tensors[0].kind == "float":
            return self.calls.emit(layer.name, self._operation(layer, args, keywords, tensors), tensors, masks=[None])
        _check_keywords(layer, keywords)
        states = [known[reference] for reference in references(keywords.get("initial_state"))]
        given = keywords.get("mask")
        named = [given] if references(given) and not _is_list(given) else list(given or ())
        if layer.class_name == "MultiHeadAttention":
            for key in _OF_ATTENTION:
                tensors += [known[reference] for reference in references(keywords.pop(key, None))]
            named = [keywords.get(f"{key}_mask") for key in _OF_ATTENTION[: len(tensors)]]
            named.append(keywords.pop("attention_mask", None))
        masks = [self._mask(layer, known[references(each)[0]]) if references(each) else None for each in named]
        return self.calls.call(layer, CallArguments(tensors, masks, states, keywords))

    def _operation(
        self, layer: LayerConfig, args: Sequence[Any], keywords: Mapping[str, Any], tensors: Sequence[Tensor]
    ) -> KerasLayer:
        """An operation on numbers."""
        if len(args) == 1 and not keywords:
            options = self.calls.options(layer)
            read = read_operation(options, [tensor.shape for tensor in tensors])
            if read is not None:
                options.finish()
                return read
        return _binary_operation(layer, args, keywords)

    def _mask(self, layer: LayerConfig, tensor: Tensor) -> Tensor:
        """A mask that a call names; where it has numbers, those that are not 0 count."""
        if tensor.kind == "bool":
            return tensor
        return self.calls.emit(f"{layer.name}.given_mask", NotEqual(0.0), [tensor], "bool")[0]


def _is_operation(layer: LayerConfig) -> bool:
    """Whether it is an operation on numbers."""
    return layer.is_operation and (layer.class_name not in MASK_OPERATIONS or layer.class_name == "ExpandDims")


def _binary_operation(layer: LayerConfig, args: Sequence[Any], keywords: Mapping[str, Any]) -> KerasLayer:
    """An operation on two tensors, or on a tensor and what is no tensor."""
    numbers = [argument for argument in args if isinstance(argument, int | float)]
    if layer.class_name in ARITHMETIC and len(args) == 2 and not keywords:
        operation = ARITHMETIC[layer.class_name]
        return (
            ArithmeticOperation(operation, float(numbers[0]), numbers[0] is args[0])
            if numbers
            else ArithmeticOperation(operation)
        )
    part = read_part(args[1]) if layer.class_name == "GetItem" and len(args) == 2 else None
    return part or refuse(layer, "this operation cannot be exported; use a layer of Keras")


def _has_time_major(structure: Any) -> bool:
    """Whether a recurrent layer somewhere in a configuration has its time axis before that of the batch."""
    if isinstance(structure, Mapping):
        return structure.get("time_major") is True or _has_time_major(list(structure.values()))
    return isinstance(structure, list) and any(_has_time_major(each) for each in structure)


def _is_list(structure: Any) -> bool:
    """Whether it is a list of tensors, and not one of Keras 2's tensors, [layer, node, tensor]."""
    return isinstance(structure, list) and not (structure and isinstance(structure[0], str))


def _check_keywords(layer: LayerConfig, keywords: Mapping[str, Any]) -> None:
    for key, value in keywords.items():
        of_attention = key.endswith("_mask") or (key in _OF_ATTENTION and references(value))
        if value is None or key in _QUIET_KEYWORDS or of_attention:
            continue
        refuse(layer, f"it is called with {key}={value!r}, which is not supported")
    if keywords.get("constants"):
        refuse(layer, "it is called with constants")
    if keywords.get("training") is True:
        refuse(layer, "it is called with training=True, so its result is drawn at random")
