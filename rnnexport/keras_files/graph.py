"""A file's configuration as a typed model.

1. Classes and their options are read by an allow-list; what is not known is refused with the layer's name.
2. Models inside models are taken apart, and `TimeDistributed` becomes a change of shape around its layer.
3. Masks become tensors like others, made, passed on and dropped where Keras does so.
4. Batch and time are left open, also where the file names a size: a recurrent layer has none. Where a layer needs to
   know it, as Flatten before Dense does, the file's size stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, cast

from rnnexport.errors import ExportError
from rnnexport.keras_files.archive import KerasFile
from rnnexport.keras_files.layers import LAYERS
from rnnexport.keras_files.layers.attention import Attention, MultiHeadAttention
from rnnexport.keras_files.layers.convolution import GlobalPool
from rnnexport.keras_files.layers.dense import Embedding, Pass
from rnnexport.keras_files.layers.layer import Layer, SameSizeError, Shape
from rnnexport.keras_files.layers.masks import (
    MASK_OPERATIONS,
    AnyTrue,
    ExpandDims,
    FilledLike,
    Logical,
    Masking,
    NotEqual,
    Select,
)
from rnnexport.keras_files.layers.merging import Concatenate, Merge
from rnnexport.keras_files.layers.recurrent import Bidirectional, Recurrent, snake_case
from rnnexport.keras_files.layers.shaping import FoldTime, UnfoldTime
from rnnexport.keras_files.model import Call, Kind, Model, Tensor
from rnnexport.keras_files.options import Options, SizeNeededError
from rnnexport.keras_files.weights import join

_MODELS = ("Functional", "Model", "Sequential")
_BATCH, _TIME = "batch", "time"
_QUIET_KEYWORDS = ("training", "mask", "initial_state", "use_causal_mask", "return_attention_scores", "constants")


def read_model(file: KerasFile) -> Model:
    """Read the model of a file, weights included.

    Raises:
        ExportError: It holds a class, an option or a call that cannot be exported; the layer is named.
        InputError: Its configuration contradicts itself, or its weights do not fit.
    """
    fixed: set[str] = set()
    same: dict[str, str] = {}
    while True:  # each turn learns one size more
        builder = _Builder(file, fixed, same)
        try:
            model = builder.build()
            break
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
    join(file, model.weights, builder.names)
    return model


@dataclass(frozen=True, slots=True)
class _LayerConfig:
    """A layer as the file describes it, and where it is."""

    class_name: str
    config: Mapping[str, Any]
    name: str
    owner: tuple[str, ...]
    top: str
    """The layer of the outermost model that it is or belongs to."""


@dataclass(slots=True)
class _Arguments:
    """What a layer is called with."""

    inputs: list[Tensor]
    mask: Tensor | None = None
    states: list[Tensor] = field(default_factory=list)
    keywords: Mapping[str, Any] = field(default_factory=dict)


class _Builder:
    """Builds a model, with what is known of its open dimensions."""

    def __init__(self, file: KerasFile, fixed: set[str], same: dict[str, str]) -> None:
        self._file, self._fixed, self._same = file, fixed, same
        self._keras_2 = file.keras_version.startswith(("1.", "2."))
        self._declared: dict[str, int] = {}
        self._layers: dict[tuple[str, ...], Layer] = {}
        self._taken: dict[str, int] = {}
        self.names: dict[tuple[str, ...], str] = {}
        """Of the layers that have weights, by where these lie."""
        self._model = Model(file.path.stem)

    def build(self) -> Model:
        """Build the outermost model."""
        class_name, config = str(self._file.config.get("class_name")), self._file.config.get("config")
        if class_name not in _MODELS:
            raise ExportError(
                f"the model is a class of its own, {class_name!r}, whose code is not in the file; only Sequential and "
                "Functional models can be exported"
            )
        _check_origins(config)
        config = {"layers": config} if isinstance(config, list) else cast("Mapping[str, Any]", config)
        outputs = self._run(class_name, config, (), None, None)
        taken = {tensor.name for tensor in self._model.inputs}
        for output in outputs:
            own = self._emit(output.name, Pass(), [output], output.kind)[0] if output.name in taken else output
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
            shape.append(self._same.get(symbol, symbol))
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
        layers = list(self._layer_configs(class_name, config["layers"], owner, top))
        if class_name == "Sequential":
            return self._run_sequential(config, layers, inputs)
        return self._run_functional(config, layers, inputs)

    def _layer_configs(
        self, class_name: str, layers: Sequence[Mapping[str, Any]], owner: tuple[str, ...], top: str | None
    ) -> Iterator[tuple[_LayerConfig, Mapping[str, Any]]]:
        """All layers with what the file says of them; places in the file count them by class."""
        counts: dict[str, int] = {}
        for found in layers:
            kind, config = str(found["class_name"]), found.get("config", {})
            name = str(found.get("name") or config.get("name") or kind.lower())
            place = snake_case("Functional" if kind == "Model" else kind)
            counted = kind in (*LAYERS, *_MODELS, "TimeDistributed", "InputLayer") and not _is_operation(found)
            if counted and not (class_name == "Sequential" and kind == "InputLayer"):
                number = counts[place] = counts.get(place, -1) + 1
                place = f"{place}_{number}" if number else place
            yield _LayerConfig(kind, config, name, (*owner, "layers", place), top or name), found

    def _run_sequential(
        self,
        config: Mapping[str, Any],
        layers: list[tuple[_LayerConfig, Mapping[str, Any]]],
        inputs: list[Tensor] | None,
    ) -> list[Tensor]:
        if not layers:
            raise ExportError(f"model {config.get('name')!r} has no layers")
        first = layers[0][0]
        if first.class_name == "InputLayer":
            layers = layers[1:]
        if inputs is None:
            shape = _declared_shape(first.config) or config.get("build_input_shape")
            if shape is None:
                raise ExportError(
                    f"model {config.get('name')!r} has no input shape; add keras.Input(shape=...) as its first layer"
                )
            tokens = bool(layers) and layers[0][0].class_name == "Embedding"
            suffix = "" if first.class_name == "InputLayer" else "_input"
            inputs = [self._add_input(first.name + suffix, shape, _input_kind(first.config), tokens=tokens)]
        for layer, _ in layers:
            inputs = self._call(layer, _Arguments(inputs))
        return inputs

    def _run_functional(
        self,
        config: Mapping[str, Any],
        layers: list[tuple[_LayerConfig, Mapping[str, Any]]],
        inputs: list[Tensor] | None,
    ) -> list[Tensor]:
        known: dict[tuple[str, int, int], Tensor] = {}
        by_name = {layer.name: layer for layer, _ in layers}
        tokens = {
            name
            for layer, found in layers
            if layer.class_name == "Embedding"
            for node in found["inbound_nodes"]
            for name, _, _ in _references(node)
        }
        for number, (name, *_) in enumerate(_references(config["input_layers"])):
            layer = by_name[name]
            if inputs is None:
                shape = _declared_shape(layer.config)
                if shape is None:
                    raise ExportError(f"input {name!r} has no shape")
                given = self._add_input(name, shape, _input_kind(layer.config), tokens=name in tokens)
            else:
                given = inputs[number]
            known[name, 0, 0] = given
        named = _references([config["output_layers"], *(found["inbound_nodes"] for _, found in layers)])
        waiting = [
            (layer, number, node)
            for layer, found in layers
            for number, node in enumerate(found["inbound_nodes"], _first_call(layer, named))
        ]
        while waiting:
            ready = [each for each in waiting if all(reference in known for reference in _references(each[2]))]
            if not ready:
                raise ExportError(f"layer {waiting[0][0].name!r}: its inputs are given by no layer of the file")
            for layer, number, node in ready:
                for index, output in enumerate(self._call_node(layer, node, known)):
                    known[layer.name, number, index] = output
            waiting = [each for each in waiting if each not in ready]
        return [known[reference] for reference in _references(config["output_layers"])]

    def _add_input(self, name: str, sizes: Sequence[int | None], kind: Kind, *, tokens: bool) -> Tensor:
        if tokens and kind == "float":  # Keras's default, which its Embedding casts
            kind = "int64"
        tensor = Tensor(self._fresh(name), self._input_shape(name, sizes, tokens=tokens or kind != "float"), kind)
        self._model.inputs.append(tensor)
        return tensor

    # Calls

    def _call_node(self, layer: _LayerConfig, node: Any, known: Mapping[tuple[str, int, int], Tensor]) -> list[Tensor]:
        """Call a layer as one node of a Functional model says."""
        if isinstance(node, Mapping):
            args, keywords = list(node["args"]), dict(node["kwargs"])
        else:  # Keras 2: [[name, node, tensor, keywords], …]
            args = [[each[:3] for each in node]]
            keywords = {k: v for each in node for k, v in (each[3] if len(each) > 3 else {}).items() if v is not None}
        tensors = [known[reference] for argument in args for reference in _references(argument)]
        if layer.class_name == "NotEqual":
            return self._emit(layer.name, NotEqual(float(args[1])), tensors, "bool")
        self._check_keywords(layer, keywords)
        mask = [known[reference] for reference in _references(keywords.get("mask"))]
        if len(mask) > 1:
            _refuse(layer, "it is called with several masks")
        states = [known[reference] for reference in _references(keywords.get("initial_state"))]
        for key in ("value", "key"):  # of a MultiHeadAttention
            tensors += [known[reference] for reference in _references(keywords.pop(key, None))]
        return self._call(layer, _Arguments(tensors, mask[0] if mask else None, states, keywords))

    def _check_keywords(self, layer: _LayerConfig, keywords: Mapping[str, Any]) -> None:
        for key, value in keywords.items():
            is_mask = key.endswith("_mask") and key != "attention_mask"
            if value is None or key in _QUIET_KEYWORDS or is_mask or (key in ("value", "key") and _references(value)):
                continue
            _refuse(layer, f"it is called with {key}={value!r}, which is not supported")
        if keywords.get("return_attention_scores"):
            _refuse(layer, "it returns its attention scores")
        if keywords.get("constants"):
            _refuse(layer, "it is called with constants")
        if keywords.get("training") is True:
            _refuse(layer, "it is called with training=True, so its result is drawn at random")

    def _call(self, layer: _LayerConfig, arguments: _Arguments) -> list[Tensor]:
        """Call any layer, a model among them."""
        if layer.class_name in _MODELS:
            self.names[layer.owner] = layer.name
            if arguments.mask is not None:
                arguments.inputs[0] = replace(arguments.inputs[0], mask=arguments.mask)
            return self._run(layer.class_name, layer.config, layer.owner, layer.top, arguments.inputs)
        if layer.class_name == "TimeDistributed":
            return self._call_distributed(layer, arguments)
        if layer.class_name in MASK_OPERATIONS:
            read = self._read(layer, MASK_OPERATIONS[layer.class_name], arguments.inputs)
            return self._emit(layer.name, read, arguments.inputs, "bool")
        if layer.class_name not in LAYERS:
            _refuse_class(layer)
        read = self._read(layer, LAYERS[layer.class_name], arguments.inputs)
        return self._call_layer(layer, read, arguments)

    def _read(self, layer: _LayerConfig, cls: type[Layer], inputs: list[Tensor]) -> Layer:
        """Read a layer's options, when it is called for the first time."""
        if layer.owner in self._layers and cls not in MASK_OPERATIONS.values():
            return self._layers[layer.owner]
        options = Options(
            layer.class_name,
            layer.config,
            layer.owner,
            layer.top,
            keras_2=self._keras_2,
            add_weight=self._model.weights.append,
        )
        read = cls.read(options, [tensor.shape for tensor in inputs])
        options.finish()
        self._layers[layer.owner] = read
        if cls in LAYERS.values():
            self.names[layer.owner] = layer.name
        return read

    def _call_layer(self, layer: _LayerConfig, read: Layer, arguments: _Arguments) -> list[Tensor]:
        inputs, masks = arguments.inputs, [tensor.mask for tensor in arguments.inputs]
        wanted = "bool" if inputs[0].kind == "bool" else "int" if read.reads_integers else "float"
        if any(not tensor.kind.startswith(wanted) for tensor in inputs):
            _refuse(layer, f"it takes {inputs[0].kind} values; make its input {wanted}")
        if arguments.mask is not None:
            masks[0] = arguments.mask
        if isinstance(read, Recurrent | Bidirectional):
            return self._call_recurrent(layer, read, arguments, masks[0])
        if arguments.states:
            _refuse(layer, "it is called with an initial state")
        if isinstance(read, Attention | MultiHeadAttention) and arguments.keywords.get("use_causal_mask"):
            read = replace(read, causal=True)
        if isinstance(read, MultiHeadAttention) and any(masks):
            _refuse(layer, "its inputs are masked, which is not supported; leave out mask_zero or Masking before it")
        if layer.class_name == "Softmax" and any(masks):
            _refuse(layer, "its input is masked, which is not supported; use Activation('softmax')")
        if isinstance(read, Merge) and not self._keras_2 and any(masks):
            return self._call_masked_merge(layer, read, inputs, masks)
        outputs = self._emit(
            layer.name, read, inputs, "bool" if inputs[0].kind == "bool" else "float", masks if read.takes_mask else ()
        )
        for output in outputs:
            output.mask = self._output_mask(layer, read, inputs, masks)
        return outputs

    def _call_masked_merge(
        self, layer: _LayerConfig, read: Merge, inputs: list[Tensor], masks: list[Tensor | None]
    ) -> list[Tensor]:
        """Keras 3 multiplies by 1 where a step does not count; where none does, the product is 0."""
        if read.operation in ("Maximum", "Minimum"):
            _refuse(layer, "its inputs are masked, which is not supported")
        mask = self._joined(layer, masks)
        if read.operation != "Multiply":
            (output,) = self._emit(layer.name, read, inputs)
        else:
            inputs = [self._selected(tensor, tensor.mask, 1.0) for tensor in inputs]
            (product,) = self._emit(f"{layer.name}.product" if mask is not None else layer.name, read, inputs)
            output = self._selected(product, mask, 0.0)
            if mask is not None:
                output.name = self._fresh(layer.name)
        output.mask = mask
        return [output]

    def _selected(self, tensor: Tensor, mask: Tensor | None, otherwise: float) -> Tensor:
        """A tensor with another number on masked steps."""
        if mask is None:
            return tensor
        (by_element,) = self._emit(f"{tensor.name}.counts", ExpandDims(len(mask.shape)), [mask], "bool")
        (selected,) = self._emit(f"{tensor.name}.selected", Select(otherwise), [tensor, by_element])
        return selected

    def _call_recurrent(
        self, layer: _LayerConfig, read: Recurrent | Bidirectional, arguments: _Arguments, mask: Tensor | None
    ) -> list[Tensor]:
        sequence, *states = arguments.inputs
        states += arguments.states
        if states and len(states) != read.states:
            _refuse(layer, f"it is called with {len(states)} states, it has {read.states}")
        # Keras 3 does not hand the mask on to a layer that is called with several tensors, unless it is asked to.
        used = arguments.mask if states and not self._keras_2 else mask
        if (read if isinstance(read, Recurrent) else read.forward).stateful:
            self._model.notes.append(
                f"layer {layer.name!r} keeps its states from call to call in Keras; here every call starts at zero"
            )
        outputs = self._emit(layer.name, read, [sequence, *states], "float", [used])
        sequences = 2 if isinstance(read, Bidirectional) and read.merge_mode is None else 1
        inner = read if isinstance(read, Recurrent) else read.forward
        for output in outputs[:sequences]:
            output.mask = mask if inner.return_sequences else None
        return outputs

    def _output_mask(
        self, layer: _LayerConfig, read: Layer, inputs: list[Tensor], masks: list[Tensor | None]
    ) -> Tensor | None:
        """The mask of what a layer gives."""
        match read:
            case Masking():
                (unequal,) = self._emit(f"{layer.name}.unequal", NotEqual(read.mask_value), inputs, "bool")
                return self._emit(f"{layer.name}.mask", AnyTrue(), [unequal], "bool")[0]
            case Embedding():
                if not read.mask_zero:
                    return None
                return self._emit(f"{layer.name}.mask", NotEqual(0.0), inputs, "bool")[0]
            case Merge():
                return self._joined(layer, masks)
            case Concatenate():
                return self._concatenated(layer, read, inputs, masks)
            case Attention():
                return masks[0]
            case GlobalPool():
                return None
        return masks[0] if read.passes_mask else None

    def _joined(self, layer: _LayerConfig, masks: list[Tensor | None]) -> Tensor | None:
        """Where any input counts; no mask where an input has none."""
        joined = masks[0]
        for mask in masks[1:]:
            if joined is None or mask is None:
                return None
            (joined,) = self._emit(f"{layer.name}.mask", Logical("or"), [joined, mask], "bool")
        return joined

    def _concatenated(
        self, layer: _LayerConfig, read: Concatenate, inputs: list[Tensor], masks: list[Tensor | None]
    ) -> Tensor | None:
        if not any(masks):
            return None
        name, parts = f"{layer.name}.mask", []
        for tensor, mask in zip(inputs, masks, strict=True):
            (blank,) = self._emit(f"{name}.like", FilledLike(mask is None), [tensor], "bool")
            if mask is not None:
                (wide,) = self._emit(f"{name}.wide", ExpandDims(len(mask.shape)), [mask], "bool")
                (blank,) = self._emit(f"{name}.part", Logical("or"), [wide, blank], "bool")
            parts.append(blank)
        (joined,) = self._emit(f"{name}.joined", read, parts, "bool")
        return self._emit(name, AnyTrue(), [joined], "bool")[0]

    def _call_distributed(self, layer: _LayerConfig, arguments: _Arguments) -> list[Tensor]:
        self.names[layer.owner] = layer.name
        (tensor,) = arguments.inputs
        mask = arguments.mask or tensor.mask
        wrapped = layer.config["layer"]
        class_name, config = str(wrapped["class_name"]), wrapped["config"]
        inner = _LayerConfig(class_name, config, str(config.get("name")), (*layer.owner, "layer"), layer.top)
        unmasked = replace(tensor, mask=None)
        cls = LAYERS.get(class_name)
        if cls is not None and cls.per_element:
            (output,) = self._call(inner, _Arguments([unmasked]))
            output.name = self._fresh(layer.name)
        else:
            if len(tensor.shape) < 3:
                _refuse(layer, f"its input has {len(tensor.shape)} dimensions, not 3 or more")
            before = len(self._model.calls)
            folded = self._emit(f"{layer.name}.folded", FoldTime(), [unmasked], tensor.kind)
            results = self._call(inner, _Arguments(folded))
            if mask is not None and any(call.layer.takes_mask for call in self._model.calls[before:]):
                _refuse(layer, f"its input is masked, and its layer, a {class_name}, reads masks")
            if len(results) != 1:
                _refuse(layer, f"its layer has {len(results)} outputs")
            (output,) = self._emit(layer.name, UnfoldTime(), [results[0], unmasked], results[0].kind)
        output.mask = mask
        return [output]

    def _emit(
        self,
        name: str,
        layer: Layer,
        inputs: Sequence[Tensor],
        kind: Kind = "float",
        masks: Sequence[Tensor | None] = (),
    ) -> list[Tensor]:
        """Add a call."""
        shapes = layer.output_shapes([tensor.shape for tensor in inputs])
        name = self._fresh(name)
        outputs = [
            Tensor(name if n == 0 else self._fresh(f"{name}.{n}"), shape, kind) for n, shape in enumerate(shapes)
        ]
        self._model.calls.append(Call(name, layer, tuple(inputs), tuple(masks), tuple(outputs)))
        return outputs

    def _fresh(self, name: str) -> str:
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return name if count == 1 else self._fresh(f"{name}_{count}")


def _refuse(layer: _LayerConfig, reason: str) -> NoReturn:
    raise ExportError(f"layer {layer.name!r} ({layer.class_name}): {reason}")


def _refuse_class(layer: _LayerConfig) -> NoReturn:
    reasons = {
        "Lambda": "it is code, which is never run from a file; build it from Keras's own layers",
        "TFOpLambda": "it is an operation of TensorFlow; build it from Keras's own layers",
        "SlicingOpLambda": "it is an operation of TensorFlow; build it from Keras's own layers",
    }
    _refuse(layer, reasons.get(layer.class_name, "layers of this class cannot be exported"))


def _check_origins(structure: Any) -> None:
    """Refuse classes that are not Keras's own, whatever they are called."""
    if isinstance(structure, Mapping):
        module, registered = structure.get("module"), structure.get("registered_name")
        own = module is None or str(module).split(".")[0] in ("keras", "tf_keras", "builtins")
        if "class_name" in structure and (not own or ">" in str(registered)):
            name = structure.get("name") or (structure.get("config") or {}).get("name")
            raise ExportError(
                f"layer {name!r} ({registered or structure['class_name']}): it is a class of its own, whose code is "
                "not in the file; build it from Keras's own layers"
            )
        structure = list(structure.values())
    if isinstance(structure, list):
        for each in structure:
            _check_origins(each)


def _is_operation(found: Mapping[str, Any]) -> bool:
    return str(found.get("module")).startswith("keras.src.ops")


def _references(structure: Any) -> list[tuple[str, int, int]]:
    """All (layer, node, tensor) that a part of a configuration names, in the order of Keras."""
    if isinstance(structure, Mapping):
        if structure.get("class_name") == "__keras_tensor__":
            name, node, tensor = structure["config"]["keras_history"]
            return [(str(name), int(node), int(tensor))]
        return [each for _, value in sorted(structure.items()) for each in _references(value)]
    if not isinstance(structure, list | tuple):
        return []
    if len(structure) in (3, 4) and isinstance(structure[0], str) and all(type(n) is int for n in structure[1:3]):
        return [(structure[0], structure[1], structure[2]), *_references(list(structure[3:]))]
    return [each for value in structure for each in _references(value)]


def _first_call(layer: _LayerConfig, named: Sequence[tuple[str, int, int]]) -> int:
    """The number of a layer's first call; in Keras 2 a model within a model may have been called once on its own."""
    if layer.class_name not in _MODELS:
        return 0
    return min((number for name, number, _ in named if name == layer.name), default=0)


def _declared_shape(config: Mapping[str, Any]) -> Sequence[int | None] | None:
    found = config.get("batch_shape") or config.get("batch_input_shape")
    if found is None and (shape := config.get("input_shape")) is not None:
        found = [None, *shape]
    if found is not None and not all(size is None or (type(size) is int and size > 0) for size in found):
        raise ExportError(f"input {config.get('name')!r} has the shape {found}, which is none")
    return cast("Sequence[int | None] | None", found)


def _input_kind(config: Mapping[str, Any]) -> Kind:
    dtype = config.get("dtype")
    if not isinstance(dtype, str) or dtype.startswith(("float", "mixed")):
        return "float"
    if config.get("sparse") or config.get("ragged") or not dtype.startswith(("int", "uint")):
        raise ExportError(f"input {config.get('name')!r} is {dtype}, which cannot be exported")
    return "int64" if dtype in ("int64", "uint32", "uint64") else "int32"
