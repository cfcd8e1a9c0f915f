"""Stacks of small sizes of every kind, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.kernels.recurrent_stack import GATES_OF, DrawnStack

BITS = (32, 16, 8, 4)


@st.composite
def drawn_stacks(draw: st.DrawFn) -> DrawnStack:
    """Any stack of small sizes, about the edges of panels, groups and blocks."""
    cell = draw(st.sampled_from(sorted(GATES_OF)))
    layers = draw(st.integers(1, 3))
    mixed = st.lists(st.sampled_from(BITS), min_size=layers * GATES_OF[cell], max_size=layers * GATES_OF[cell])
    return DrawnStack(
        cell=cell,
        direction=draw(st.sampled_from(["forward", "reverse", "bidirectional"])),
        linear_before_reset=draw(st.integers(0, 1)),
        num_layers=layers,
        input_size=draw(st.sampled_from([1, 4, 7, 16, 33, 70])),
        hidden_size=draw(st.sampled_from([1, 6, 16, 17, 40])),
        layout=draw(st.integers(0, 1)),
        weight_bits=draw(st.sampled_from(BITS) | mixed.map(tuple)),
        block_size=draw(st.sampled_from([32, 64])),
        activation_bits=draw(st.sampled_from([12, 8])),
        bias=draw(st.booleans()),
        seed=draw(st.integers(0, 9)),
    )
