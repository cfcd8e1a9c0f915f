"""Calls of layers: each is read once, checked, and followed by what Keras does with the masks of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from rnnexport.keras_files.configuration import MODELS, LayerConfig, refuse, refuse_class
from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers import LAYERS
from rnnexport.keras_files.layers.attention import Attention, MultiHeadAttention
from rnnexport.keras_files.layers.convolution import GlobalPool
from rnnexport.keras_files.layers.dense import Embedding
from rnnexport.keras_files.layers.layer import KerasLayer, broadcast
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
from rnnexport.keras_files.layers.normalization import Softmax
from rnnexport.keras_files.layers.recurrent import Bidirectional, Recurrent
from rnnexport.keras_files.layers.shaping import FoldTime, UnfoldTime
from rnnexport.keras_files.model import Kind, LayerCall, Model, Tensor

_END_MASKS_IN_KERAS_2 = ("Identity", "Normalization", "Rescaling")
"""Layers that pass masks on in Keras 3 only."""


@dataclass(slots=True)
class CallArguments:
    """What a layer is called with."""

    inputs: list[Tensor]
    masks: Sequence[Tensor | None] = ()
    """Of the inputs in their order, where the call says them; of a MultiHeadAttention also that of query and value."""
    states: list[Tensor] = field(default_factory=list)
    keywords: Mapping[str, Any] = field(default_factory=dict)


class LayerCalls:
    """Adds calls to a model.

    Args:
        model: The model.
        keras_2: Whether its file is one of Keras 2.
        run_model: Calls a model that stands in the place of a layer.
    """

    def __init__(
        self, model: Model, run_model: Callable[[LayerConfig, list[Tensor]], list[Tensor]], *, keras_2: bool
    ) -> None:
        self._model, self._run_model, self._keras_2 = model, run_model, keras_2
        self._layers: dict[tuple[str, ...], KerasLayer] = {}
        self._taken: dict[str, int] = {}
        self.names: dict[tuple[str, ...], str] = {}
        """Of the layers that have weights, by where these lie."""

    def call(self, layer: LayerConfig, arguments: CallArguments) -> list[Tensor]:
        """Call any layer, a model among them."""
        if layer.class_name in MODELS:
            self.names[layer.owner] = layer.name
            inputs = [
                replace(tensor, mask=mask or tensor.mask)
                for tensor, mask in zip_longest(arguments.inputs, arguments.masks)
            ]
            return self._run_model(layer, inputs)
        if layer.class_name == "TimeDistributed":
            return self._call_distributed(layer, arguments)
        if layer.class_name in MASK_OPERATIONS:
            read = self._read(layer, MASK_OPERATIONS[layer.class_name], arguments.inputs)
            return self.emit(layer.name, read, arguments.inputs, "bool")
        if layer.class_name not in LAYERS:
            refuse_class(layer)
        read = self._read(layer, LAYERS[layer.class_name], arguments.inputs)
        return self._call_layer(layer, read, arguments)

    def _read(self, layer: LayerConfig, cls: type[KerasLayer], inputs: list[Tensor]) -> KerasLayer:
        """Read a layer's options, when it is called for the first time."""
        if layer.owner in self._layers and cls not in MASK_OPERATIONS.values():
            return self._layers[layer.owner]
        options = self.options(layer)
        read = cls.read(options, [tensor.shape for tensor in inputs])
        options.finish()
        if options.narrow:
            self._model.notes.append(f"Keras computes this model in {options.narrow}, in part; here all is float32")
        self._layers[layer.owner] = read
        if cls in LAYERS.values():
            self.names[layer.owner] = layer.name
        return read

    def options(self, layer: LayerConfig) -> LayerOptions:
        """The options of a layer or an operation, to be read."""
        return LayerOptions(
            layer.class_name,
            layer.config,
            layer.owner,
            layer.top,
            keras_2=self._keras_2,
            add_weight=self._model.weights.append,
        )

    def _call_layer(self, layer: LayerConfig, read: KerasLayer, arguments: CallArguments) -> list[Tensor]:
        inputs = arguments.inputs
        masks = [mask or tensor.mask for tensor, mask in zip_longest(inputs, arguments.masks[: len(inputs)])]
        joins_masks = isinstance(read, Concatenate) and inputs[0].kind == "bool"
        wanted = "bool" if joins_masks else "int" if read.reads_integers else "float"
        if any(not tensor.kind.startswith(wanted) for tensor in inputs):
            refuse(layer, f"it takes {inputs[0].kind} values; make its input {wanted}")
        if read.takes_mask:
            self._check_masks(layer, read, inputs, masks)
        if isinstance(read, Recurrent | Bidirectional):
            return self._call_recurrent(layer, read, arguments, masks[0])
        if arguments.states:
            refuse(layer, "it is called with an initial state")
        if isinstance(read, Attention | MultiHeadAttention):
            scores = bool(arguments.keywords.get("return_attention_scores"))
            read = replace(
                read, causal=bool(arguments.keywords.get("use_causal_mask", read.causal)), gives_weights=scores
            )
        if isinstance(read, MultiHeadAttention):
            read = replace(read, blanks=not self._keras_2 and (read.blanks or read.gives_weights))
            for mask in arguments.masks[len(inputs) :]:
                if mask is not None:
                    broadcast([(*inputs[0].shape[:2], inputs[1].shape[1]), mask.shape])
                masks.append(mask)
        if isinstance(read, Merge) and not self._keras_2 and any(masks):
            return self._call_masked_merge(layer, read, inputs, masks)
        outputs = self.emit(
            layer.name, read, inputs, "bool" if inputs[0].kind == "bool" else "float", masks if read.takes_mask else ()
        )
        for output in outputs:
            output.mask = self._output_mask(layer, read, inputs, masks)
        return outputs

    def _call_masked_merge(
        self, layer: LayerConfig, read: Merge, inputs: list[Tensor], masks: list[Tensor | None]
    ) -> list[Tensor]:
        """Keras 3 multiplies by 1 where a step does not count; where none does, the product is 0."""
        if read.operation in ("Maximum", "Minimum"):
            return self._call_masked_extreme(layer, read, inputs, masks)
        mask = self._joined(layer, masks)
        if read.operation != "Multiply":
            (output,) = self.emit(layer.name, read, inputs)
        else:
            inputs = [self._selected(tensor, tensor.mask, 1.0) for tensor in inputs]
            (product,) = self.emit(f"{layer.name}.product" if mask is not None else layer.name, read, inputs)
            output = self._selected(product, mask, 0.0)
            if mask is not None:
                output.name = self.fresh_name(layer.name)
        output.mask = mask
        return [output]

    def _call_masked_extreme(
        self, layer: LayerConfig, read: Merge, inputs: list[Tensor], masks: list[Tensor | None]
    ) -> list[Tensor]:
        """One input after another, each with the others' values where it does not count."""
        output, mask = inputs[0], masks[0]
        for tensor, own in zip(inputs[1:], masks[1:], strict=True):
            given = self._selected(tensor, own, output)
            output = self._selected(output, mask, given)
            (output,) = self.emit(f"{layer.name}.of_two", read, [output, given])
            mask = self._joined(layer, [mask, own])
        output.name, output.mask = self.fresh_name(layer.name), mask
        return [output]

    def _selected(self, tensor: Tensor, mask: Tensor | None, otherwise: float | Tensor) -> Tensor:
        """A tensor with another number on masked steps, or another's."""
        if mask is None:
            return tensor
        (by_element,) = self.emit(f"{tensor.name}.counts", ExpandDims(len(mask.shape)), [mask], "bool")
        other = [otherwise] if isinstance(otherwise, Tensor) else []
        select = Select() if isinstance(otherwise, Tensor) else Select(otherwise)
        (selected,) = self.emit(f"{tensor.name}.selected", select, [tensor, by_element, *other])
        return selected

    def _check_masks(
        self, layer: LayerConfig, read: KerasLayer, inputs: list[Tensor], masks: list[Tensor | None]
    ) -> None:
        """Refuse masks of another shape than the layer can read, as Keras does.

        Raises:
            SameSizeError: Open dimensions of a mask and of what it masks must be the same.
        """
        for tensor, mask in zip(inputs, masks, strict=True):
            dimensions = len(tensor.shape) if isinstance(read, Softmax) else 2
            if mask is not None and len(mask.shape) != dimensions:
                refuse(layer, f"its mask has {len(mask.shape)} dimensions, and it reads masks of {dimensions}")
            if mask is not None:
                broadcast([tensor.shape[:dimensions], mask.shape])

    def _call_recurrent(
        self, layer: LayerConfig, read: Recurrent | Bidirectional, arguments: CallArguments, mask: Tensor | None
    ) -> list[Tensor]:
        sequence, *states = arguments.inputs
        states += arguments.states
        if states and len(states) != read.states:
            refuse(layer, f"it is called with {len(states)} states, it has {read.states}")
        # Keras 3 does not hand the mask on to a layer that is called with several tensors, unless it is asked to.
        used = next(iter(arguments.masks), None) if states and not self._keras_2 else mask
        if (read if isinstance(read, Recurrent) else read.forward).stateful:
            self._model.notes.append(
                f"layer {layer.name!r} keeps its states from call to call in Keras; here every call starts at zero"
            )
        outputs = self.emit(layer.name, read, [sequence, *states], "float", [used])
        sequences = 2 if isinstance(read, Bidirectional) and read.merge_mode is None else 1
        inner = read if isinstance(read, Recurrent) else read.forward
        for output in outputs[:sequences]:
            output.mask = mask if inner.return_sequences else None
        return outputs

    def _output_mask(
        self, layer: LayerConfig, read: KerasLayer, inputs: list[Tensor], masks: list[Tensor | None]
    ) -> Tensor | None:
        """The mask of what a layer gives."""
        match read:
            case Masking():
                (unequal,) = self.emit(f"{layer.name}.unequal", NotEqual(read.mask_value), inputs, "bool")
                return self.emit(f"{layer.name}.mask", AnyTrue(), [unequal], "bool")[0]
            case Embedding():
                if not read.mask_zero:
                    return None
                return self.emit(f"{layer.name}.mask", NotEqual(0.0), inputs, "bool")[0]
            case Merge():
                return self._joined(layer, masks)
            case Concatenate():
                return self._concatenated(layer, read, inputs, masks)
            case Attention():
                return masks[0]
            case MultiHeadAttention():
                return masks[0]
            case GlobalPool():
                return None
        ends = self._keras_2 and layer.class_name in _END_MASKS_IN_KERAS_2
        return masks[0] if read.passes_mask and not ends else None

    def _joined(self, layer: LayerConfig, masks: list[Tensor | None]) -> Tensor | None:
        """Where any input counts; no mask where an input has none."""
        joined = masks[0]
        for mask in masks[1:]:
            if joined is None or mask is None:
                return None
            (joined,) = self.emit(f"{layer.name}.mask", Logical("or"), [joined, mask], "bool")
        return joined

    def _concatenated(
        self, layer: LayerConfig, read: Concatenate, inputs: list[Tensor], masks: list[Tensor | None]
    ) -> Tensor | None:
        if not any(masks):
            return None
        name, parts = f"{layer.name}.mask", []
        for tensor, mask in zip(inputs, masks, strict=True):
            (blank,) = self.emit(f"{name}.like", FilledLike(mask is None), [tensor], "bool")
            if mask is not None:
                (wide,) = self.emit(f"{name}.wide", ExpandDims(len(mask.shape)), [mask], "bool")
                (blank,) = self.emit(f"{name}.part", Logical("or"), [wide, blank], "bool")
            parts.append(blank)
        (joined,) = self.emit(f"{name}.joined", read, parts, "bool")
        return self.emit(name, AnyTrue(), [joined], "bool")[0]

    def _call_distributed(self, layer: LayerConfig, arguments: CallArguments) -> list[Tensor]:
        self.names[layer.owner] = layer.name
        (tensor,) = arguments.inputs
        mask = next(iter(arguments.masks), None) or tensor.mask
        wrapped = layer.config["layer"]
        class_name, config = str(wrapped["class_name"]), wrapped["config"]
        inner = LayerConfig(class_name, config, str(config.get("name")), (*layer.owner, "layer"), layer.top)
        unmasked = replace(tensor, mask=None)
        cls = LAYERS.get(class_name)
        if cls is not None and cls.per_element:
            (output,) = self.call(inner, CallArguments([unmasked]))
            output.name = self.fresh_name(layer.name)
        else:
            if len(tensor.shape) < 3:
                refuse(layer, f"its input has {len(tensor.shape)} dimensions, not 3 or more")
            before = len(self._model.calls)
            (folded,) = self.emit(f"{layer.name}.folded", FoldTime(), [unmasked], tensor.kind)
            if mask is not None and len(mask.shape) > 2:
                (folded.mask,) = self.emit(f"{layer.name}.folded_mask", FoldTime(), [mask], "bool")
            results = self.call(inner, CallArguments([folded]))
            reads = any(call.layer.takes_mask for call in self._model.calls[before:])
            if mask is not None and folded.mask is None and reads:
                refuse(layer, f"its input's mask says nothing of the steps that its layer, a {class_name}, reads")
            if len(results) != 1:
                refuse(layer, f"its layer has {len(results)} outputs")
            (output,) = self.emit(layer.name, UnfoldTime(), [results[0], unmasked], results[0].kind)
            if self._keras_2 and mask is not None:
                mask = self._of_outer_steps(layer, mask, results[0].mask, unmasked)
        output.mask = mask
        return [output]

    def _of_outer_steps(self, layer: LayerConfig, mask: Tensor, inner: Tensor | None, outer: Tensor) -> Tensor:
        """Keras 2 gives the mask of `TimeDistributed`'s layer, or which steps have any that counts."""
        if inner is not None:
            return self.emit(f"{layer.name}.mask", UnfoldTime(), [inner, outer], "bool")[0]
        while len(mask.shape) > 2:
            (mask,) = self.emit(f"{layer.name}.mask", AnyTrue(), [mask], "bool")
        return mask

    def emit(
        self,
        name: str,
        layer: KerasLayer,
        inputs: Sequence[Tensor],
        kind: Kind = "float",
        masks: Sequence[Tensor | None] = (),
    ) -> list[Tensor]:
        """Add a call."""
        shapes = layer.output_shapes([tensor.shape for tensor in inputs])
        name = self.fresh_name(name)
        outputs = [
            Tensor(name if n == 0 else self.fresh_name(f"{name}.{n}"), shape, kind) for n, shape in enumerate(shapes)
        ]
        self._model.calls.append(LayerCall(name, layer, tuple(inputs), tuple(masks), tuple(outputs)))
        return outputs

    def fresh_name(self, name: str) -> str:
        """`name`, or `name_2`, `name_3` … where it is taken."""
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return name if count == 1 else self.fresh_name(f"{name}_{count}")
