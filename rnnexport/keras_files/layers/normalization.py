"""Normalisations, softmax along any axis among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers.layer import KerasLayer, Shape, known
from rnnexport.keras_files.weights import Weight


@dataclass(frozen=True, slots=True)
class BatchNorm(KerasLayer):
    """(x - mean) / sqrt(variance + epsilon) · gamma + beta along one axis, with the statistics of training."""

    passes_mask = True

    axis: int
    epsilon: float
    gamma: Weight | None
    beta: Weight | None
    mean: Weight
    variance: Weight

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a BatchNormalization layer."""
        axis = options.axis("axis", len(inputs[0]))
        epsilon = options.number("epsilon", 1e-3)
        options.ignore("momentum", "synchronized", "renorm_clipping", "renorm_momentum", "fused", "virtual_batch_size")
        options.choice("renorm", (False,), False)
        scale, center = options.flag("scale", True), options.flag("center", True)
        size = (inputs[0][axis],)
        gamma = options.weight("gamma", size) if scale else None
        beta = options.weight("beta", size) if center else None
        mean = options.weight("moving_mean", size, trainable=False)
        return cls(axis, epsilon, gamma, beta, mean, options.weight("moving_variance", size, trainable=False))


@dataclass(frozen=True, slots=True)
class LayerNorm(KerasLayer):
    """(x - mean) / sqrt(variance + epsilon) · gamma + beta, with the statistics of the element's own axes."""

    passes_mask = True

    axes: tuple[int, ...]
    epsilon: float
    gamma: Weight | None
    beta: Weight | None

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a LayerNormalization layer."""
        rank = len(inputs[0])
        given = options.value("axis", -1)
        axes = tuple(sorted(axis % rank for axis in ([given] if isinstance(given, int) else given)))
        epsilon = options.number("epsilon", 1e-3)
        options.choice("rms_scaling", (False,), False)
        scale, center = options.flag("scale", True), options.flag("center", True)
        size = tuple(inputs[0][axis] for axis in axes)
        gamma = options.weight("gamma", size) if scale else None
        return cls(axes, epsilon, gamma, options.weight("beta", size) if center else None)


@dataclass(frozen=True, slots=True)
class FeatureNorm(KerasLayer):
    """(x - mean) / max(sqrt(variance), 1e-7), with the statistics of data that the layer has seen; or the way back."""

    passes_mask = True

    mean: Weight
    variance: Weight
    shape: tuple[int, ...]
    """Of both, beside the input: 1 on the axes over which they were taken."""
    invert: bool

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Normalization layer."""
        rank = len(inputs[0])
        given = options.value("axis", -1)
        axes = sorted(axis % rank for axis in ([] if given is None else [given] if isinstance(given, int) else given))
        if 0 in axes:
            options.refuse("it keeps the rows of a batch apart")
        sizes = tuple(known(options, inputs[0], axis) for axis in axes)
        shape = tuple(known(options, inputs[0], axis) if axis in axes else 1 for axis in range(rank))
        mean, variance = options.constant("mean", sizes), options.constant("variance", sizes)
        if mean is None or variance is None:
            mean = options.weight("mean", sizes, trainable=False)
            variance = options.weight("variance", sizes, trainable=False)
            options.weight("count", (), trainable=False, whole=True)
        return cls(mean, variance, shape, options.flag("invert", False))


@dataclass(frozen=True, slots=True)
class UnitNorm(KerasLayer):
    """x / max(|x|, 1e-6), |x| over the axes."""

    passes_mask = True

    axes: tuple[int, ...]

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a UnitNormalization layer."""
        given = options.value("axis", -1)
        return cls(tuple(axis % len(inputs[0]) for axis in ([given] if isinstance(given, int) else given)))


@dataclass(frozen=True, slots=True)
class Softmax(KerasLayer):
    """exp(x) / Σ exp(x) along one axis, over the elements that a mask of the input's shape lets count."""

    passes_mask = True
    takes_mask = True

    axis: int
    blanks: bool
    """Whether there are zeros where no element counts; else all are alike."""

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a Softmax layer."""
        return cls(options.axis("axis", len(inputs[0])), not options.keras_2)
