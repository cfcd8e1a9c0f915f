"""Attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from rnnexport.keras_files.layer_options import LayerOptions
from rnnexport.keras_files.layers.layer import KerasLayer, Shape, known
from rnnexport.keras_files.weights import Weight

Score = Literal["dot", "concat", "additive"]


@dataclass(frozen=True, slots=True)
class Attention(KerasLayer):
    """softmax(score(query, key)) · value, of inputs query, value and perhaps key.

    dot: query · keyᵀ, times the scale; concat: weight · Σ tanh(scale · (query + key)); additive:
    Σ scale · tanh(query + key).
    """

    takes_mask = True

    score: Score
    scale: Weight | None
    score_weight: Weight | None
    causal: bool = False
    """Whether a step attends to no later one; said by the call."""
    gives_weights: bool = False
    """Whether the second output is what each value counts for each query; said by the call."""

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read an Attention or AdditiveAttention layer."""
        if not 2 <= len(inputs) <= 3:
            options.refuse(f"it has {len(inputs)} inputs, not query, value and perhaps key")
        options.ignore("dropout")
        if options.class_name == "AdditiveAttention":
            options.choice("causal", (False,), False)
            scaled = options.flag("use_scale", True)
            return cls("additive", options.weight("scale", (inputs[0][-1],)) if scaled else None, None)
        score = options.choice("score_mode", ("dot", "concat"), "dot")
        causal = options.flag("causal", False)
        scale = options.weight("scale", ()) if options.flag("use_scale", False) else None
        return cls(score, scale, options.weight("concat_score_weight", ()) if score == "concat" else None, causal)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """[batch, steps of the query, features of the value], and the weights."""
        weights: Shape = (*inputs[0][:-1], inputs[1][1])
        return [(*inputs[0][:-1], inputs[1][-1]), *([weights] if self.gives_weights else [])]


@dataclass(frozen=True, slots=True)
class HeadProjection:
    """One of the products of a MultiHeadAttention."""

    kernel: Weight
    """[features, heads, size]; of the output [heads, size, features]"""
    bias: Weight | None


@dataclass(frozen=True, slots=True)
class MultiHeadAttention(KerasLayer):
    """Each head attends on its own, by products of query, key and value; inputs query, value and perhaps key."""

    takes_mask = True
    passes_mask = True

    query: HeadProjection
    key: HeadProjection
    value: HeadProjection
    output: HeadProjection
    blanks: bool
    """Whether a query of which no value counts gets zeros, not the mean of all."""
    causal: bool = False
    """Whether a step attends to no later one; said by the call."""
    gives_weights: bool = False
    """Whether the second output is what each value counts for each query; said by the call."""

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a MultiHeadAttention layer over [batch, time, features]."""
        if any(len(shape) != 3 for shape in inputs):
            options.refuse("its inputs have not 3 dimensions (batch, time, features)")
        heads, key_size = options.whole("num_heads"), options.whole("key_dim")
        value_size = options.value("value_dim", None) or key_size
        options.choice("attention_axes", (None, [1], [-2]), None)
        size = options.value("output_shape", None) or [inputs[0][-1]]
        features_after = size if isinstance(size, int) else size[0]
        if not isinstance(size, int) and len(size) != 1:
            options.refuse(f"its output_shape {size} has several dimensions")
        # Keras 3 computes the weights by itself, and not by its backend's attention, where it drops some in training.
        blanks = options.number("dropout", 0.0) > 0 and not options.keras_2
        options.choice("sliding_window", (None,), None)
        options.choice("use_gate", (False,), False)
        use_bias = options.flag("use_bias", True)
        options.ignore("query_shape", "key_shape", "value_shape", "flash_attention")

        def projection(place: str, kernel: tuple[int, ...], bias: tuple[int, ...]) -> HeadProjection:
            own = options.with_weights_at(f"_{place}" if options.keras_2 else place)
            weight = own.weight("kernel", kernel)
            return HeadProjection(weight, own.weight("bias", bias) if use_bias else None)

        features = [known(options, shape, 2) for shape in inputs]
        query = projection("query_dense", (features[0], heads, key_size), (heads, key_size))
        key = projection("key_dense", (features[-1], heads, key_size), (heads, key_size))
        value = projection("value_dense", (features[1], heads, value_size), (heads, value_size))
        output = projection("output_dense", (heads, value_size, features_after), (features_after,))
        return cls(query, key, value, output, blanks)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """[batch, steps of the query, features], and the weights of each head."""
        batch, queries, _ = inputs[0]
        weights: Shape = (batch, self.query.kernel.shape[1], queries, inputs[1][1])
        output: Shape = (batch, queries, self.output.kernel.shape[2])
        return [output, *([weights] if self.gives_weights else [])]
