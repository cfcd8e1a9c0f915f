"""`predictor.stream()`: chunks of any size give what the whole series gives, and bad chunks change nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnexport
from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.errors import InputError, RnnexportWarning
from rnnexport.optimizing.optimize import optimize
from rnnexport.optimizing.options import Rewrite
from rnnexport.predicting.predictor import Predictor
from rnnexport.predicting.streams import Stream
from tests.examples import few_examples

ATOL = 1e-6
INT8_STEP = Rewrite(lowering="unrolled", weights="int8", input_projection="same", time_steps=1)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def labels(labels_bundle: Bundle) -> Predictor:
    return rnnexport.load(labels_bundle.path)


@pytest.fixture
def gru(streaming_gru: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(streaming_gru.path, tmp_path / "gru")
    return load_bundle(tmp_path / "gru")


@pytest.fixture(scope="session")
def int8_step(streaming_gru: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("int8") / "int8.onnx"
    optimize(streaming_gru.step_path, out, INT8_STEP)
    return out


def feed(stream: Stream, series: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    ends = np.cumsum(sizes)[:-1]
    return [stream(chunk) for chunk in np.split(series, ends, axis=series.ndim - 2)]


@given(data=st.data(), batch_size=st.integers(1, 3), sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6))
@few_examples()
def test_joined_chunks_are_the_whole_series(
    labels: Predictor, data: st.DataObject, batch_size: int, sizes: list[int]
) -> None:
    series = draw(batch_size, sum(sizes), 5, seed=data.draw(st.integers(0, 99)))
    joined = np.concatenate(feed(labels.stream(batch_size), series, sizes), axis=1)
    np.testing.assert_allclose(joined, labels(list(series)), atol=ATOL)


@pytest.mark.parametrize("runtime", ["ort-cpu", "openvino-cpu"])
@given(
    batch_size=st.integers(1, 3),
    runs=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=4),
    forgotten=st.integers(0, 2),
)
@few_examples()
def test_many_chunks_of_one_size_are_the_whole_series(
    labels: Predictor, runtime: str, batch_size: int, runs: list[tuple[int, int]], forgotten: int
) -> None:
    """`runs`: sizes, and how often each comes in turn; the states of one row are forgotten on the way."""
    predictor = rnnexport.load(labels.bundle.path, runtime=runtime)
    sizes = [size for size, times in runs for _ in range(times)]
    row, (before, after) = forgotten % batch_size, draw(2, batch_size, sum(sizes), 5)
    stream = predictor.stream(batch_size)
    answers = feed(stream, before, sizes)
    kept = [answer.copy() for answer in answers]
    stream.reset([row])
    later = np.concatenate(feed(stream, after, sizes), axis=1)
    np.testing.assert_array_equal(np.concatenate(answers, axis=1), np.concatenate(kept, axis=1))
    np.testing.assert_allclose(np.concatenate(answers, axis=1), labels(list(before)), atol=ATOL)
    whole = labels([*np.concatenate([before, after], axis=1), after[row]])
    for other in range(batch_size):
        expected = whole[-1, : sum(sizes)] if other == row else whole[other, sum(sizes) :]
        np.testing.assert_allclose(later[other], expected, atol=ATOL)


@pytest.mark.parametrize("runtime", ["ort-cpu", "openvino-cpu"])
def test_a_classifier_says_after_each_chunk_what_it_makes_of_the_series_so_far(gru: Bundle, runtime: str) -> None:
    predictor = rnnexport.load(gru.path, runtime=runtime)
    series, stream = draw(20, 12), predictor.stream()
    for end, answer in zip((3, 4, 20), feed(stream, series, [3, 1, 16]), strict=True):
        assert answer.shape == (9,)
        np.testing.assert_allclose(answer, predictor([series[:end]])[0], atol=1e-5)


def test_the_batch_axis_is_where_the_chunk_has_it(labels: Predictor) -> None:
    chunk = draw(4, 5)
    bare, batched = labels.stream()(chunk), labels.stream()(chunk[None])
    assert (bare.shape, batched.shape) == ((4, 3), (1, 4, 3))
    np.testing.assert_array_equal(bare, batched[0])
    (outputs,) = labels.stream().outputs(chunk).values()
    np.testing.assert_array_equal(outputs, bare)


def test_a_reset_forgets_all_or_the_rows_named(labels: Predictor) -> None:
    chunk, stream = draw(3, 4, 5), labels.stream(3)
    fresh, second = stream(chunk), stream(chunk)
    assert np.abs(fresh - second).max() > 1e-3
    stream.reset()
    np.testing.assert_array_equal(stream(chunk), fresh)
    stream.reset([0, 2])
    np.testing.assert_allclose(stream(chunk), np.stack([fresh[0], second[1], fresh[2]]), atol=ATOL)
    for rows in ([3], [-1]):
        with pytest.raises(InputError, match=f"there is no row {rows[0]} among 3 streams"):
            stream.reset(rows)


def test_streams_of_one_predictor_stay_apart_in_many_threads(labels: Predictor) -> None:
    series = [draw(24, 5, seed=seed) for seed in range(16)]
    whole = labels(series)

    def follow(values: np.ndarray) -> np.ndarray:
        return np.concatenate(feed(labels.stream(), values, [2] * 12))

    with ThreadPoolExecutor(8) as threads:
        np.testing.assert_allclose(np.stack(list(threads.map(follow, series))), whole, atol=ATOL)


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.full((4, 5), np.nan), "the chunk is not finite at time step 0, feature 0; fill or cut it first"),
        (np.zeros((4, 6)), r"the chunk has shape \[4, 6\]; the stream takes \[1, time, 5\] or \[time, 5\]"),
        (np.zeros((2, 4, 5)), r"the chunk has shape \[2, 4, 5\]; the stream takes \[1, time, 5\] or \[time, 5\]"),
        (np.zeros((0, 5)), r"the chunk has shape \[0, 5\]; the stream takes .* with time ≥ 1"),
        (np.zeros(5), r"the chunk has shape \[5\]"),
        (np.full((4, 5), "a"), "the chunk holds <U1; the model takes numbers"),
    ],
)
def test_a_bad_chunk_is_refused_and_the_state_is_as_before(labels: Predictor, chunk: np.ndarray, message: str) -> None:
    series, stream = draw(8, 5), labels.stream()
    first = stream(series[:3])
    with pytest.raises(InputError, match=message):
        stream(chunk)
    joined = np.concatenate([first, stream(series[3:])])
    np.testing.assert_allclose(joined, labels([series])[0], atol=ATOL)


# Plans


def test_the_plan_for_streams_runs_a_chunk_step_by_step_where_it_takes_one_step(
    gru: Bundle, add_plan: Callable, int8_step: Path
) -> None:
    plan = add_plan(gru, int8_step, "step")
    planned, plain = rnnexport.load(gru.path), rnnexport.load(gru.path, runtime="ort-cpu")
    assert (planned.plan, planned.step_plan, plain.step_plan) == (None, plan, None)
    series = draw(20, 12)
    by_steps = feed(planned.stream(), series, [1] * 20)[-1]
    in_one = planned.stream()(series)
    np.testing.assert_array_equal(in_one, by_steps)
    difference = np.abs(in_one - plain.stream()(series)).max()
    assert 1e-6 < difference < 0.1  # another graph, and the same model


def test_several_streams_run_where_the_plan_is_fixed_to_one(
    labels: Predictor, add_plan: Callable, tmp_path: Path
) -> None:
    shutil.copytree(labels.bundle.path, tmp_path / "labels")
    bundle = load_bundle(tmp_path / "labels")
    import onnx

    model = onnx.load(bundle.step_path)
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == "batch":
                dimension.dim_value = 1
    onnx.save(model, tmp_path / "one.onnx")
    add_plan(bundle, tmp_path / "one.onnx", "step")
    series, predictor = draw(2, 6, 5), rnnexport.load(bundle.path)
    for batch_size in (1, 2):
        joined = np.concatenate(feed(predictor.stream(batch_size), series[:batch_size], [2, 4]), axis=1)
        np.testing.assert_allclose(joined, labels(list(series[:batch_size])), atol=ATOL)


def test_a_stale_plan_for_streams_is_left_alone_and_that_is_said(
    gru: Bundle, add_plan: Callable, int8_step: Path
) -> None:
    add_plan(gru, int8_step, "step", manifest_sha256="0" * 64)
    with pytest.warns(RnnexportWarning, match=r"the baseline runs: .*plan-step.toml was made for an earlier"):
        predictor = rnnexport.load(gru.path)
    assert predictor.step_plan is None
    assert predictor.stream()(draw(3, 12)).shape == (9,)


# What cannot stream


def test_a_bundle_without_a_step_graph_says_how_to_get_one() -> None:
    with pytest.raises(InputError, match="has no step graph, so it cannot stream; export it with `streaming`"):
        rnnexport.load(reference_bundles()[1]).stream()


def test_pytorch_has_no_step_graph(gru: Bundle) -> None:
    with pytest.raises(InputError, match="runtime 'torch-cpu' reads no step graph; choose one that runs ONNX files"):
        rnnexport.load(gru.path, runtime="torch-cpu").stream()


def test_a_stream_of_no_rows_is_refused(labels: Predictor) -> None:
    with pytest.raises(InputError, match="batch_size is 0; choose 1 or more"):
        labels.stream(0)
