"""Layers that are a product or a look-up, and layers that are an activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rnnexport.keras_files.activations import ACTIVATION_LAYERS, Activation
from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers.layer import KerasLayer, Shape
from rnnexport.keras_files.weights import Array, Weight


@dataclass(frozen=True, slots=True)
class Dense(KerasLayer):
    """activation(x · kernel + bias), over the last axis."""

    passes_mask = True
    per_element = True

    kernel: Weight
    bias: Weight | None
    activation: Activation

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Dense layer."""
        units, activation = options.whole("units"), options.activation("activation")
        use_bias = options.flag("use_bias", True)
        options.choice("lora_rank", (None,), None)
        options.choice("quantization_config", (None,), None)
        options.ignore("lora_alpha", "input_dim")
        kernel = options.weight("kernel", (inputs[0][-1], units))
        return cls(kernel, options.weight("bias", (units,)) if use_bias else None, activation)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """[…, units]."""
        return [(*inputs[0][:-1], self.kernel.shape[1])]


@dataclass(frozen=True, slots=True)
class Embedding(KerasLayer):
    """Rows of a table by number; with `mask_zero`, number 0 is a step that does not count."""

    reads_integers = True

    table: Weight
    mask_zero: bool

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read an Embedding layer."""
        size = (options.whole("input_dim"), options.whole("output_dim"))
        options.choice("lora_rank", (None,), None)
        options.choice("quantization_config", (None,), None)
        options.ignore("input_length", "lora_alpha", "weights")
        mask_zero = options.flag("mask_zero", False)
        return cls(options.weight("embeddings", size), mask_zero)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """[…, output_dim]."""
        return [(*inputs[0], self.table.shape[1])]


@dataclass(frozen=True, slots=True)
class Activate(KerasLayer):
    """An activation, element by element or, as softmax, over the last axis."""

    passes_mask = True
    per_element = True

    activation: Activation

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a layer of `ACTIVATION_LAYERS`."""
        return cls(ACTIVATION_LAYERS[options.class_name](options))


@dataclass(frozen=True, slots=True)
class PRelu(KerasLayer):
    """max(x, 0) + alpha · min(x, 0), with an alpha for each element but those on shared axes."""

    passes_mask = True

    alpha: Weight

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a PReLU layer."""
        shared = options.value("shared_axes", None) or ()
        shape = [1 if axis in shared else size for axis, size in enumerate(inputs[0])][1:]
        return cls(options.weight("alpha", tuple(shape)))


@dataclass(frozen=True, slots=True)
class Pass(KerasLayer):
    """What does nothing in inference: dropout, noise, regularisation."""

    passes_mask = True
    per_element = True

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Pass over the options, which are all of training."""
        options.ignore("rate", "noise_shape", "stddev", "l1", "l2", "data_format", "noise_type")
        return cls()


@dataclass(frozen=True, slots=True, eq=False)
class Rescale(KerasLayer):
    """x · scale + offset, numbers or arrays whose last axes are those of x."""

    passes_mask = True

    scale: Array
    offset: Array

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Rescaling layer."""
        options.ignore("data_format")
        scale, offset = options.numbers("scale"), options.numbers("offset", 0.0)
        for array in (scale, offset):
            sizes = zip(array.shape[::-1], inputs[0][:0:-1], strict=False)
            if array.ndim >= len(inputs[0]) or any(n not in (1, size) for n, size in sizes):
                options.refuse(f"an array of shape {list(array.shape)} does not fit its input of {list(inputs[0])}")
        return cls(scale, offset)
