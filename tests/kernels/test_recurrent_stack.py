"""The operator against its description, on every instruction set that this machine has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.graphs import value
from tests.kernels.drawn_stacks import BITS, drawn_stacks
from tests.kernels.recurrent_stack import Array, DrawnStack, run, session

ISAS = ("portable", "avx2", "avx512vnni")


@pytest.fixture
def use(library: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Choose an instruction set; `False` where this machine lacks it."""

    def choose(isa: str) -> bool:
        monkeypatch.setenv("RNNEXPORT_KERNELS_ISA", isa)
        try:
            session(DrawnStack().model(), library)
        except Exception as error:  # ONNX Runtime's share no base class
            if "this machine lacks" not in str(error):
                raise
            return False
        return True

    return choose


def largest_error(got: dict[str, Array], expected: dict[str, Array]) -> float:
    """Over all outputs, relative to what is larger than 1."""
    assert got.keys() == expected.keys()
    return max(np.abs(got[name] - expected[name]).max() / max(1, np.abs(expected[name]).max()) for name in expected)


def rounding_allowance(stack: DrawnStack) -> float:
    """How far one activation that is rounded the other way, a tie in float32, can take an output."""
    if min(np.ravel(stack.bits)) > 8:
        return 2e-6
    return 2e-3 if stack.activation_bits == 12 else 2e-2


@pytest.mark.parametrize("isa", ISAS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    stack=drawn_stacks(), batch=st.sampled_from([1, 2, 3, 5, 17]), time=st.sampled_from([1, 2, 5]), extras=st.booleans()
)
def test_any_stack_computes_what_its_description_says(
    use: Any, library: Path, isa: str, stack: DrawnStack, batch: int, time: int, extras: bool
) -> None:
    if not use(isa):
        pytest.skip(f"this machine lacks {isa}")
    feeds = stack.feeds(batch, time, lengths=extras, states=extras)
    got = run(stack.model(lengths=extras, states=extras), library, feeds, threads=2)
    assert largest_error(got, stack.reference(feeds)) < rounding_allowance(stack)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("isa", ISAS)
def test_the_odd_step_of_a_series_is_right(use: Any, library: Path, isa: str, bits: int) -> None:
    """W times the last of five steps is a product of one row, for which gates may go side by side."""
    if not use(isa):
        pytest.skip(f"this machine lacks {isa}")
    for linear_before_reset in (0, 1):
        stack = DrawnStack(
            "gru", linear_before_reset=linear_before_reset, input_size=40, hidden_size=24, weight_bits=bits
        )
        feeds = stack.feeds(1, 5)
        assert largest_error(run(stack.model(), library, feeds), stack.reference(feeds)) < rounding_allowance(stack)


@pytest.mark.parametrize("bits", BITS)
def test_a_series_of_steps_stays_close(library: Path, bits: int) -> None:
    stack = DrawnStack("gru", linear_before_reset=1, num_layers=2, input_size=40, hidden_size=64, weight_bits=bits)
    feeds = stack.feeds(2, 60)
    error = largest_error(run(stack.model(), library, feeds), stack.reference(feeds))
    assert error < (2e-6 if bits > 8 else 3e-4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    stack=drawn_stacks(),
    batch=st.sampled_from([1, 5]),
    bits=st.sampled_from([(8,), (4,), (8, 4)]),
    threads=st.integers(1, 2),
)
def test_all_instruction_sets_give_the_same_bits_with_integer_weights(
    use: Any, library: Path, stack: DrawnStack, batch: int, bits: tuple[int, ...], threads: int
) -> None:
    count = stack.num_layers * stack.gates
    stack = dataclasses.replace(stack, weight_bits=tuple((bits * count)[:count]))
    feeds = stack.feeds(batch, 4, lengths=True, states=True)
    answers = [run(stack.model(lengths=True, states=True), library, feeds, threads) for isa in ISAS if use(isa)]
    for answer in answers[1:]:
        for name in answer:
            np.testing.assert_array_equal(answer[name], answers[0][name])


def step_by_step(stack: DrawnStack, library: Path, x: Array) -> Iterator[dict[str, Array]]:
    """What a stream gives: one step a call, the states carried on."""
    opened = session(stack.model(states=True), library)
    outputs = [output.name for output in opened.get_outputs()]
    state = np.zeros((stack.num_layers, x.shape[1], stack.hidden_size), np.float32)
    states = {"initial_h": state} | ({"initial_c": state} if stack.cell == "lstm" else {})
    for t in range(len(x)):
        answer = dict(zip(outputs, opened.run(None, {"X": x[t : t + 1], **states}), strict=True))
        states = {"initial_" + name[2:]: answer[name] for name in outputs[1:]}
        yield answer


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_stream_gives_the_bits_of_the_whole_series(library: Path, cell: str) -> None:
    stack = DrawnStack(cell, num_layers=3, input_size=9, hidden_size=30, weight_bits=8)
    x = stack.feeds(2, 7)["X"]
    whole = run(stack.model(), library, {"X": x})
    steps = list(step_by_step(stack, library, x))
    np.testing.assert_array_equal(np.concatenate([step["Y"] for step in steps]), whole["Y"])
    np.testing.assert_array_equal(steps[-1]["Y_h"], whole["Y_h"])


@pytest.mark.parametrize("bits", [32, 8])
def test_padding_is_not_read_and_an_empty_row_keeps_its_state(library: Path, bits: int) -> None:
    stack = DrawnStack(direction="bidirectional", num_layers=2, weight_bits=bits)
    feeds = stack.feeds(3, 6, states=True)
    feeds["sequence_lens"] = np.array([0, 2, 6], np.int32)
    for row, length in enumerate(feeds["sequence_lens"]):
        feeds["X"][length:, row] = np.nan
    got = run(stack.model(lengths=True, states=True), library, feeds)
    assert largest_error(got, stack.reference({**feeds, "X": np.nan_to_num(feeds["X"])})) < 2e-3
    np.testing.assert_array_equal(got["Y_h"][:, 0], feeds["initial_h"][:, 0])
    np.testing.assert_array_equal(got["Y"][2:, 1], 0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_nan_is_not_swallowed(use: Any, library: Path, isa: str, bits: int, wrong: float) -> None:
    if not use(isa):
        pytest.skip(f"this machine lacks {isa}")
    stack = DrawnStack("gru", weight_bits=bits, input_size=20)
    feeds = stack.feeds(2, 3)
    feeds["X"][1, 0, 17] = wrong
    y = run(stack.model(), library, feeds)["Y"]
    assert np.isfinite(y[0]).all()
    assert np.isfinite(y[:, 1]).all()
    if np.isnan(wrong) or bits <= 8:
        assert np.isnan(y[1:, 0]).all()


@pytest.mark.parametrize("isa", ISAS)
def test_gates_stay_within_their_bounds(use: Any, library: Path, isa: str) -> None:
    if not use(isa):
        pytest.skip(f"this machine lacks {isa}")
    x = np.concatenate([np.linspace(-20, 20, 200_001), np.geomspace(1e-30, 1e3, 20_001), [0.0, -0.0, -1e30, 1e30]])
    feeds = {"X": x.astype(np.float32).reshape(1, -1, 1)}
    exact = feeds["X"].astype(np.float64).ravel()

    class OneWeight(DrawnStack):
        @property
        def matrices(self) -> list[list[tuple[Array, Array]]]:
            rows = np.zeros((self.gates, 1), np.float32)
            rows[{"rnn_tanh": 0, "lstm": 2}[self.cell]] = 1
            return [[(rows, np.zeros_like(rows))]]

    tangent = OneWeight("rnn_tanh", input_size=1, hidden_size=1, bias=False)
    got = run(tangent.model(), library, feeds)["Y"].ravel()
    assert np.abs(got - np.tanh(exact)).max() < 2e-7
    small = (exact != 0) & (np.abs(exact) < 0.6)
    assert np.abs(got[small] / np.tanh(exact[small]) - 1).max() < 4e-7
    logistic = OneWeight("lstm", input_size=1, hidden_size=1, bias=False)  # c' = f · 1 + i · tanh(0)
    ones = np.ones((1, exact.size, 1), np.float32)
    got = run(logistic.model(states=True), library, {**feeds, "initial_h": 0 * ones, "initial_c": ones})["Y_c"].ravel()
    with np.errstate(over="ignore"):
        assert np.abs(got - 1 / (1 + np.exp(-exact))).max() < 1.5e-7


@pytest.mark.parametrize(
    ("cell", "op_type", "attributes"),
    [
        ("lstm", "LSTM", {}),
        ("gru", "GRU", {"linear_before_reset": 0}),
        ("gru", "GRU", {"linear_before_reset": 1}),
        ("rnn_tanh", "RNN", {}),
        ("rnn_relu", "RNN", {"activations": ["Relu"] * 2}),
    ],
)
def test_it_agrees_with_the_operators_of_onnx(
    library: Path, cell: str, op_type: str, attributes: dict[str, Any]
) -> None:
    reset = attributes.get("linear_before_reset", 0)
    stack = DrawnStack(cell, "bidirectional", reset, input_size=12, hidden_size=24)
    feeds = stack.feeds(3, 8, lengths=True)
    feeds["sequence_lens"] = np.array([8, 1, 5], np.int32)
    w, r = (np.stack([of_direction[i] for of_direction in stack.matrices[0]]) for i in range(2))
    constants = [numpy_helper.from_array(array, name) for array, name in ((w, "W"), (r, "R"), (stack.biases, "B"))]
    node = helper.make_node(
        op_type,
        ["X", "W", "R", "B", "sequence_lens"],
        ["Y4", "Y_h"],
        direction="bidirectional",
        hidden_size=24,
        **attributes,
    )
    transposed = helper.make_node("Transpose", ["Y4"], ["Y"], perm=[0, 2, 1, 3])
    graph = helper.make_graph(
        [node, transposed],
        "layer",
        [value("X", ["time", "batch", 12]), value("sequence_lens", ["batch"], np.int32)],
        [value("Y", None), value("Y_h", None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    expected = run(model, library, feeds)
    got = run(stack.model(lengths=True), library, feeds)
    np.testing.assert_allclose(got["Y"], expected["Y"].reshape(got["Y"].shape), atol=2e-6)
    np.testing.assert_allclose(got["Y_h"], expected["Y_h"], atol=2e-6)


def test_runs_at_the_same_time_do_not_disturb_each_other(library: Path) -> None:
    stack = DrawnStack("gru", "bidirectional", num_layers=2, input_size=20, hidden_size=160, weight_bits=8)
    opened = session(stack.model(), library, threads=2)
    calls = [stack.feeds(1 + i % 3, 1 + i % 5, seed=i) for i in range(16)]
    alone = [opened.run(None, feeds) for feeds in calls]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda feeds: opened.run(None, feeds), calls * 4))
    for i, answer in enumerate(together):
        for got, expected in zip(answer, alone[i % len(calls)], strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_memory_stays_flat(library: Path) -> None:
    stack = DrawnStack("lstm", num_layers=2, hidden_size=128, weight_bits=8)
    opened, feeds = session(stack.model(), library, threads=2), stack.feeds(1, 1)

    def pages_after(calls: int) -> int:
        for _ in range(calls):
            opened.run(None, feeds)
        return int(Path("/proc/self/statm").read_text().split()[1])

    early = pages_after(20_000)
    assert pages_after(100_000) < early + 512  # as many as 21 bytes a call


def test_outputs_that_nobody_wants_may_be_left_out(library: Path) -> None:
    stack = DrawnStack(num_layers=2)
    feeds = stack.feeds(2, 3)
    whole = run(stack.model(), library, feeds)
    for wanted in (["Y"], ["", "Y_h"], ["", "", "Y_c"]):
        model = stack.model()
        outputs = [each for each in model.graph.output if each.name == wanted[-1]]
        del model.graph.output[:], model.graph.node[0].output[:]
        model.graph.node[0].output.extend(wanted)
        model.graph.output.extend(outputs)
        if not wanted[0]:
            continue
        np.testing.assert_array_equal(run(model, library, feeds)[wanted[-1]], whole[wanted[-1]])


def test_an_empty_batch_has_an_empty_answer(library: Path) -> None:
    stack = DrawnStack()
    answer = run(stack.model(), library, {"X": np.zeros((4, 0, 5), np.float32)})
    assert [answer[name].shape for name in ("Y", "Y_h", "Y_c")] == [(4, 0, 6), (1, 0, 6), (1, 0, 6)]
