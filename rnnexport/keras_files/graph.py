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
from rnnexport.keras_files.calls import CallArguments, LayerCalls
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
)
from rnnexport.keras_files.layers.dense import Pass
from rnnexport.keras_files.layers.layer import SameSizeError, Shape
from rnnexport.keras_files.layers.masks import NotEqual
from rnnexport.keras_files.model import Kind, Model, Tensor
from rnnexport.keras_files.options import SizeNeededError
from rnnexport.keras_files.weights import join

_BATCH, _TIME = "batch", "time"
_QUIET_KEYWORDS = ("training", "mask", "initial_state", "use_causal_mask", "return_attention_scores", "constants")


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
    fixed: set[str] = set()
    same: dict[str, str] = {}
    while True:  # each turn learns one size more
        builder = _Builder(file, fixed, same)
        try:
            return builder, builder.build()
        except SizeNeededError as exc:
            open_dimension = builder.declared_within(exc.dimension)
            if open_dimension is None:
                raise ExportError(
                    f"layer {exc.name!r} ({exc.class_name}) needs to know how many time steps there are, and the file "
                    "does not say; give them to keras.Input(shape=...)"
                ) from exc
            fixed.add(open_dimension)
        except SameSizeError as exc:
            builder.unite(exc, fixed, same)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError) as exc:
            raise ExportError(
                f"{file.path}: its configuration contradicts itself ({type(exc).__name__}: {exc})"
            ) from exc


class _Builder:
    """Builds a model, with what is known of its open dimensions."""

    def __init__(self, file: KerasFile, fixed: set[str], same: dict[str, str]) -> None:
        self._file, self._fixed, self._same = file, fixed, same
        self._declared: dict[str, int] = {}
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
        taken = {tensor.name for tensor in self._model.inputs}
        for output in outputs:
            own = self.calls.emit(output.name, Pass(), [output], output.kind)[0] if output.name in taken else output
            taken.add(own.name)
            self._model.outputs.append(own)
        return self._model

    # Dimensions

    def declared_within(self, dimension: str) -> str | None:
        """The open dimension that another one was computed from, if the file names its size."""
        return next((name for name in sorted(self._declared, key=len, reverse=True) if name in dimension), None)

    def unite(self, exc: SameSizeError, fixed: set[str], same: dict[str, str]) -> None:
        """Take two open dimensions for one, or for what the file says."""
        inputs = {size for tensor in self._model.inputs for size in tensor.shape if isinstance(size, str)}
        if {exc.first, exc.second} <= inputs and _BATCH not in (exc.first, exc.second):
            same[exc.second] = exc.first
            return
        declared = self.declared_within(exc.first) or self.declared_within(exc.second)
        if declared is None:
            raise ExportError(f"two layers' outputs of {exc.first} and {exc.second} steps are merged") from exc
        fixed.add(declared)

    def _input_shape(self, name: str, sizes: Sequence[int | None], *, tokens: bool) -> Shape:
        number = len(self._model.inputs) + 1
        shape: list[int | str] = [_BATCH]
        for axis, size in enumerate(sizes[1:], 1):
            is_time = axis == 1 and (len(sizes) > 2 or tokens)
            symbol = (_TIME if number == 1 else f"{_TIME}_{number}") if is_time else f"{name}_{axis}"
            if size is not None and (not is_time or symbol in self._fixed):
                shape.append(size)
                continue
            if size is not None:
                self._declared[symbol] = size
            while symbol in self._same:
                symbol = self._same[symbol]
            shape.append(symbol)
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
        if isinstance(node, Mapping):
            args, keywords = list(node["args"]), dict(node["kwargs"])
        else:  # Keras 2: [[name, node, tensor, keywords], …]
            args = [[each[:3] for each in node]]
            keywords = {k: v for each in node for k, v in (each[3] if len(each) > 3 else {}).items() if v is not None}
        tensors = [known[reference] for argument in args for reference in references(argument)]
        if layer.class_name == "NotEqual":
            return self.calls.emit(layer.name, NotEqual(float(args[1])), tensors, "bool")
        _check_keywords(layer, keywords)
        mask = [known[reference] for reference in references(keywords.get("mask"))]
        if len(mask) > 1:
            refuse(layer, "it is called with several masks")
        states = [known[reference] for reference in references(keywords.get("initial_state"))]
        for key in ("value", "key"):  # of a MultiHeadAttention
            tensors += [known[reference] for reference in references(keywords.pop(key, None))]
        return self.calls.call(layer, CallArguments(tensors, mask[0] if mask else None, states, keywords))


def _check_keywords(layer: LayerConfig, keywords: Mapping[str, Any]) -> None:
    for key, value in keywords.items():
        is_mask = key.endswith("_mask") and key != "attention_mask"
        if value is None or key in _QUIET_KEYWORDS or is_mask or (key in ("value", "key") and references(value)):
            continue
        refuse(layer, f"it is called with {key}={value!r}, which is not supported")
    if keywords.get("return_attention_scores"):
        refuse(layer, "it returns its attention scores")
    if keywords.get("constants"):
        refuse(layer, "it is called with constants")
    if keywords.get("training") is True:
        refuse(layer, "it is called with training=True, so its result is drawn at random")
