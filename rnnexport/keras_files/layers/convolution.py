"""Convolution and pooling over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from rnnexport.keras_files.activations import Activation
from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers.layer import KerasLayer, Shape, known
from rnnexport.keras_files.weights import Weight

Padding = Literal["valid", "same", "causal"]


@dataclass(frozen=True, slots=True)
class Window:
    """A window that is moved over the time axis of [batch, time, features], or of [batch, features, time]."""

    size: int
    stride: int
    dilation: int
    padding: Padding
    features_first: bool

    @classmethod
    def read(cls, options: LayerOptions, size: str, inputs: Sequence[Shape], *, causal: bool) -> Self:
        """Read what convolutions and pooling have in common; `size` is the option of that meaning."""
        if len(inputs[0]) != 3:
            options.refuse(f"its input has {len(inputs[0])} dimensions, not 3")
        width = options.whole(size)
        strides = options.value("strides", 1)
        stride = width if strides is None else strides[0] if isinstance(strides, list) else strides
        dilation = options.whole("dilation_rate", 1)
        padding = options.choice("padding", ("valid", "same", "causal") if causal else ("valid", "same"), "valid")
        first = options.choice("data_format", ("channels_last", "channels_first", None), None) == "channels_first"
        if stride > 1 and dilation > 1:
            options.refuse("it has strides and a dilation, which Keras does not allow together")
        return cls(width, stride, dilation, padding, first)

    @property
    def reach(self) -> int:
        """Steps from the first to the last that the window reads, less one."""
        return (self.size - 1) * self.dilation

    @property
    def features_axis(self) -> int:
        """Where the features are."""
        return 1 if self.features_first else 2

    def steps(self, before: int | str) -> int | str:
        """The time steps after it."""
        if isinstance(before, int):
            return -(-(before - (self.reach if self.padding == "valid" else 0)) // self.stride)
        if self.stride == 1 and (self.padding != "valid" or self.reach == 0):
            return before
        return f"{before}_by_{self.size}_{self.stride}_{self.dilation}"

    def output_shape(self, shape: Shape, features: int | str) -> Shape:
        """The shape after it."""
        steps = self.steps(shape[3 - self.features_axis])
        return (shape[0], features, steps) if self.features_first else (shape[0], steps, features)


@dataclass(frozen=True, slots=True)
class Conv(KerasLayer):
    """activation(convolution + bias)."""

    window: Window
    groups: int
    kernel: Weight
    """[size, features / groups, filters]"""
    bias: Weight | None
    activation: Activation

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Conv1D layer."""
        window = Window.read(options, "kernel_size", inputs, causal=True)
        filters, groups = options.whole("filters"), options.whole("groups", 1)
        activation, use_bias = options.activation("activation"), options.flag("use_bias", True)
        options.choice("lora_rank", (None,), None)
        options.ignore("lora_alpha")
        features = known(options, inputs[0], window.features_axis)
        kernel = options.weight("kernel", (window.size, features // groups, filters))
        bias = options.weight("bias", (filters,)) if use_bias else None
        return cls(window, groups, kernel, bias, activation)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """Another number of steps and of features."""
        return [self.window.output_shape(inputs[0], self.kernel.shape[2])]


@dataclass(frozen=True, slots=True)
class Pool(KerasLayer):
    """The largest value or the mean of a window; padding does not count."""

    window: Window
    largest: bool

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a MaxPooling1D or AveragePooling1D layer."""
        window = Window.read(options, "pool_size", inputs, causal=False)
        return cls(window, options.class_name.startswith("Max"))

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """Another number of steps."""
        return [self.window.output_shape(inputs[0], inputs[0][self.window.features_axis])]


@dataclass(frozen=True, slots=True)
class GlobalPool(KerasLayer):
    """The largest value or the mean over time; a mean leaves out masked steps, a maximum does not."""

    takes_mask = True

    largest: bool
    time_axis: int
    keepdims: bool

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a GlobalMaxPooling1D or GlobalAveragePooling1D layer."""
        if len(inputs[0]) != 3:
            options.refuse(f"its input has {len(inputs[0])} dimensions, not 3")
        first = options.choice("data_format", ("channels_last", "channels_first", None), None) == "channels_first"
        return cls("Max" in options.class_name, 2 if first else 1, options.flag("keepdims", False))

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """Without time, or with one step."""
        before, after = inputs[0][: self.time_axis], inputs[0][self.time_axis + 1 :]
        return [(*before, *((1,) if self.keepdims else ()), *after)]
