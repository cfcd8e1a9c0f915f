"""Attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from rnnexport.keras_files.layers.layer import KerasLayer, Shape, known
from rnnexport.keras_files.options import LayerOptions
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
        """[batch, steps of the query, features of the value]."""
        return [(*inputs[0][:-1], inputs[1][-1])]


@dataclass(frozen=True, slots=True)
class HeadProjection:
    """One of the products of a MultiHeadAttention."""

    kernel: Weight
    """[features, heads, size]; of the output [heads, size, features]"""
    bias: Weight | None


@dataclass(frozen=True, slots=True)
class MultiHeadAttention(KerasLayer):
    """Each head attends on its own, by products of query, key and value; inputs query, value and perhaps key."""

    query: HeadProjection
    key: HeadProjection
    value: HeadProjection
    output: HeadProjection
    causal: bool = False
    """Whether a step attends to no later one; said by the call."""

    @classmethod
    def read(cls, options: LayerOptions, inputs: Sequence[Shape]) -> Self:
        """Read a MultiHeadAttention layer over [batch, time, features]."""
        if any(len(shape) != 3 for shape in inputs):
            options.refuse("its inputs have not 3 dimensions (batch, time, features)")
        heads, key_size = options.whole("num_heads"), options.whole("key_dim")
        value_size = options.value("value_dim", None) or key_size
        options.choice("attention_axes", (None, [1], [-2]), None)
        options.choice("output_shape", (None,), None)
        options.choice("sliding_window", (None,), None)
        options.choice("use_gate", (False,), False)
        use_bias = options.flag("use_bias", True)
        options.ignore("dropout", "query_shape", "key_shape", "value_shape", "flash_attention")

        def projection(place: str, kernel: tuple[int, ...], bias: tuple[int, ...]) -> HeadProjection:
            own = options.with_weights_at(place)
            weight = own.weight("kernel", kernel)
            return HeadProjection(weight, own.weight("bias", bias) if use_bias else None)

        features = [known(options, shape, 2) for shape in inputs]
        query = projection("query_dense", (features[0], heads, key_size), (heads, key_size))
        key = projection("key_dense", (features[-1], heads, key_size), (heads, key_size))
        value = projection("value_dense", (features[1], heads, value_size), (heads, value_size))
        output = projection("output_dense", (heads, value_size, features[0]), (features[0],))
        return cls(query, key, value, output)

    def output_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """That of the query."""
        return [inputs[0]]
