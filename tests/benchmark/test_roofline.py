"""The bound of a call: its work counted another way, and caches that are simulated instead of reasoned about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from rnnexport.benchmark.machine import Cache, Machine, MemoryLevel, Rate
from rnnexport.benchmark.roofline import lower_bound
from rnnexport.benchmark.weight_formats import FORMATS, INT8, WeightFormat
from rnnexport.benchmark.work import LayerWork, recurrent_work
from tests.graphs import Graph
from tests.kernels.recurrent_stack import DrawnStack

GATES = {"LSTM": 4, "GRU": 3}


def machine(near: int, peak: float, near_rate: float, far_rate: float, cores: int = 1) -> Machine:
    """One cache of `near` bytes between arithmetic and memory; rates for each of the cores, those of memory shared."""
    first = Cache(level=1, size=0, instances=cores)
    second = Cache(level=2, size=near, instances=cores)
    near_both = Rate(one=near_rate, all=near_rate * cores)
    return Machine(
        cores=cores,
        flop_per_second={"float32": Rate(one=peak, all=peak * cores)},
        levels=(
            MemoryLevel(name="L2", nearer=(first,), private=True, bytes_per_second=near_both),
            MemoryLevel(
                name="memory", nearer=(first, second), private=False, bytes_per_second=Rate(one=far_rate, all=far_rate)
            ),
        ),
        fork_join_ns=1000.0,
    )


layers = st.builds(
    LayerWork,
    name=st.just("layer"),
    gates=st.sampled_from([3, 4]),
    input_size=st.integers(1, 8),
    hidden_size=st.integers(1, 8),
    batch_size=st.integers(1, 4),
    time_steps=st.integers(1, 4),
)
stacks = st.lists(layers, min_size=1, max_size=3)


def simulated_ns(stack: list[LayerWork], near: int, peak: float, near_rate: float, far_rate: float, keep: str) -> float:
    """A repeated call on one core, weight by weight: one flop at a time, one cache with the policy `keep`."""
    cached: dict[tuple[int, str, int], None] = {}

    def touch(weight: tuple[int, str, int]) -> bool:
        """Whether it had to come from memory."""
        missed = weight not in cached
        if missed and len(cached) >= near // 4:
            if keep == "first" or not cached:
                return True
            del cached[next(iter(cached))]
        cached.pop(weight, None)
        cached[weight] = None
        return missed

    total = 0.0
    for repeat in range(2):
        total = 0.0 if repeat else total  # the first call only fills the cache
        for number, layer in enumerate(stack):
            rows = layer.gates * layer.hidden_size
            phases = [("W", rows * layer.input_size, layer.batch_size * layer.time_steps)]
            phases += [("R", rows * layer.hidden_size, layer.batch_size)] * layer.time_steps
            for matrix, count, uses in phases:
                far = sum(touch((number, matrix, i)) for i in range(count))
                total += max(2 * uses * count / peak, 4 * count / near_rate, 4 * far / far_rate)
    return total * 1e9


@given(
    stack=stacks,
    near=st.integers(0, 3000),
    rates=st.tuples(*[st.floats(1e6, 1e9)] * 3),
    keep=st.sampled_from(["first", "latest"]),
)
def test_no_simulated_cache_beats_the_bound(
    stack: list[LayerWork], near: int, rates: tuple[float, float, float], keep: str
) -> None:
    bound = lower_bound(stack, machine(near, *rates), FORMATS["float32"], threads=1)
    assert 0 < bound.nanoseconds <= simulated_ns(stack, near, *rates, keep) * (1 + 1e-9)


@given(stack=stacks, rates=st.tuples(*[st.floats(1e6, 1e9)] * 3))
def test_without_a_cache_the_bound_is_what_the_simulation_takes(
    stack: list[LayerWork], rates: tuple[float, float, float]
) -> None:
    bound = lower_bound(stack, machine(0, *rates), FORMATS["float32"], threads=1)
    assert bound.nanoseconds == pytest.approx(simulated_ns(stack, 0, *rates, "latest"))


@given(stack=stacks, near=st.integers(0, 3000), rates=st.tuples(*[st.floats(1e6, 1e9)] * 3), cores=st.integers(1, 8))
def test_more_threads_and_fewer_bytes_never_raise_the_bound(
    stack: list[LayerWork], near: int, rates: tuple[float, float, float], cores: int
) -> None:
    found = machine(near, *rates, cores)
    bounds = [lower_bound(stack, found, FORMATS["float32"], threads).nanoseconds for threads in range(1, cores + 2)]
    assert bounds == sorted(bounds, reverse=True)
    assert lower_bound(stack, found, INT8, cores).nanoseconds <= bounds[-1]


@given(stack=stacks, peak=st.floats(1e6, 1e9), cores=st.integers(1, 8), threads=st.integers(1, 16))
def test_arithmetic_is_shared_by_the_threads_as_far_as_there_are_cores(
    stack: list[LayerWork], peak: float, cores: int, threads: int
) -> None:
    found = machine(near=0, peak=peak, near_rate=1e30, far_rate=1e30, cores=cores)
    flop = sum(layer.projection_flop + layer.time_steps * layer.step_flop for layer in stack)
    bound = lower_bound(stack, found, FORMATS["float32"], threads)
    assert bound.nanoseconds == pytest.approx(1e9 * flop / (peak * min(cores, threads)))
    steps = sum(layer.time_steps for layer in stack)
    assert bound.synchronisation_ns == (1000.0 * steps if min(cores, threads) > 1 else 0.0)


@given(
    cell=st.sampled_from(["LSTM", "GRU"]),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    sizes=st.tuples(*[st.integers(1, 7)] * 4),
)
def test_work_is_that_of_the_matrices_in_the_graph(cell: str, direction: str, sizes: tuple[int, int, int, int]) -> None:
    batch, time, inputs, hidden = sizes
    model, weights = recurrent_model(cell, direction, inputs, hidden)
    work, left_out = recurrent_work(model, {"batch": batch, "time": time})
    assert not left_out
    assert {layer.name for layer in work} == {"the layer"}
    assert {(layer.batch_size, layer.time_steps) for layer in work} == {(batch, time)}
    # every number of W and R is multiplied and added once for each row and step
    flop = sum(layer.projection_flop + layer.time_steps * layer.step_flop for layer in work)
    assert flop == 2 * batch * time * sum(array.size for array in weights)
    assert sum(layer.recurrent_weights for layer in work) == weights[1].size


@given(
    layers=st.integers(1, 3),
    direction=st.sampled_from(["forward", "bidirectional"]),
    sizes=st.tuples(*[st.integers(1, 7)] * 4),
)
def test_a_stack_of_layers_has_the_work_of_each(layers: int, direction: str, sizes: tuple[int, int, int, int]) -> None:
    batch, time, inputs, hidden = sizes
    stack = DrawnStack("gru", direction, 1, layers, inputs, hidden, weight_bits=(8, 4, 16) * layers)
    work, left_out = recurrent_work(ir.from_proto(stack.model()), {"batch": batch, "time": time})
    assert not left_out
    assert len(work) == layers * stack.directions
    flop = sum(layer.projection_flop + layer.time_steps * layer.step_flop for layer in work)
    assert flop == 2 * batch * time * sum(w.size + r.size for of_layer in stack.matrices for w, r in of_layer)
    assert {layer.weights for layer in work} == {WeightFormat((1 + 0.5 + 2) / 3, "int8")}
    of_memory = machine(0, 1e15, 1e6, 1e6)
    float32 = [replace(layer, weights=None) for layer in work]
    bounds = [lower_bound(each, of_memory, FORMATS["float32"], 1).nanoseconds for each in (work, float32)]
    assert bounds[0] == pytest.approx(bounds[1] * (1 + 0.5 + 2) / 3 / 4)


def test_a_layer_whose_time_is_not_known_is_left_out_by_name() -> None:
    model, _ = recurrent_model("GRU", "forward", 3, 5)
    assert recurrent_work(model, {"batch": 2}) == ((), ("the layer",))


@pytest.mark.parametrize(
    ("hidden", "threads", "limit"),
    [(8, 1, "arithmetic"), (64, 1, "L2"), (512, 1, "memory"), (8, 2, "synchronisation")],
)
def test_the_limit_is_named(hidden: int, threads: int, limit: str) -> None:
    layer = LayerWork("layer", 4, hidden, hidden, batch_size=1, time_steps=20)
    near = Cache(level=1, size=2**12, instances=2)
    found = machine(2**20, peak=1e11, near_rate=1e11, far_rate=1e10, cores=2)
    levels = tuple(level.model_copy(update={"nearer": (near, *level.nearer[1:])}) for level in found.levels)
    found = found.model_copy(update={"levels": levels})
    assert lower_bound([layer], found, FORMATS["float32"], threads).limit == limit


def test_weights_that_most_come_from_memory_are_named_so_even_where_the_cache_is_no_faster() -> None:
    layer = LayerWork("layer", 4, 512, 512, batch_size=1, time_steps=20)  # R is 4 MiB
    found = machine(2**20, peak=1e12, near_rate=1e10, far_rate=1e10)
    assert lower_bound([layer], found, FORMATS["float32"], threads=1).limit == "memory"


def test_without_known_caches_arithmetic_is_the_only_bound() -> None:
    layer = LayerWork("layer", 4, 512, 512, batch_size=1, time_steps=20)
    found = machine(0, peak=1e9, near_rate=1.0, far_rate=1.0).model_copy(update={"levels": ()})
    bound = lower_bound([layer], found, FORMATS["float32"], threads=1)
    assert bound.limit == "arithmetic"
    assert bound.nanoseconds == layer.projection_flop + 20 * layer.step_flop


def recurrent_model(cell: str, direction: str, inputs: int, hidden: int) -> tuple[ir.Model, list[np.ndarray]]:
    g, directions = Graph(), 2 if direction == "bidirectional" else 1
    weights = g.weights(cell, inputs, hidden, directions=directions)
    g.op(cell, "x", *weights, outputs=["y"], name="the layer", hidden_size=hidden, direction=direction)
    model = g.model({"x": ["time", "batch", inputs]}, {"y": ["time", directions, "batch", hidden]})
    return ir.from_proto(model), [numpy_helper.to_array(tensor) for tensor in g.constants]
