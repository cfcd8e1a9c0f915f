"""What every engine that runs ONNX files must do."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnnexport.engines import get_engine
from rnnexport.engines.contract import InPlaceSession
from rnnexport.errors import EngineError, InputError
from rnnexport.runtime.definitions import load_definition
from tests.examples import few_examples

pytestmark = pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
ATOL = 1e-6  # float32 at these sizes; bfloat16 or TF32 would be 1e-3 away


def draw_x(batch, time, features=3, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, time, features)).astype("float32")


@pytest.fixture
def session(engine, gru, define):
    session = get_engine(engine).load(gru[1], define(engine))
    yield session
    session.close()


@given(
    cell=st.sampled_from(["LSTM", "GRU"]),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 9)),
    batch=st.integers(1, 4),
    time=st.integers(1, 12),
    threads=st.integers(0, 2),
)
@settings(few_examples(), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_against_numpy_equations(engine, cell, sizes, batch, time, threads, tiny_model, define, tmp_path):
    model = tiny_model(cell, *sizes)
    session = get_engine(engine).load(model.save(tmp_path / "model.onnx"), define(engine, threads=threads))
    x = draw_x(batch, time, sizes[0])
    assert session.run({"x": x})["logits"] == pytest.approx(model.expected(x), abs=ATOL)


def test_says_what_the_model_takes_and_gives(session):
    (x,), (logits,) = session.inputs, session.outputs
    assert (x.name, x.dtype, x.shape[2]) == ("x", np.float32, 3)
    assert not isinstance(x.shape[0], int)
    assert (logits.name, logits.dtype, logits.shape[1]) == ("logits", np.float32, 2)


def test_returned_arrays_belong_to_the_caller(session):
    first = session.run({"x": draw_x(2, 4)})["logits"]
    kept = first.copy()
    session.run({"x": draw_x(2, 4, seed=1)})
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_of_several_threads_stay_apart(engine, gru, define, threads):
    session = get_engine(engine).load(gru[1], define(engine, threads=threads))
    feeds = [{"x": draw_x(1 + seed % 4, 2 + seed, seed=seed)} for seed in range(24)]
    expected = [session.run(each)["logits"] for each in feeds]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for answer, right in zip(pool.map(session.run, feeds), expected, strict=True):
                np.testing.assert_allclose(answer["logits"], right, atol=ATOL)


def test_bound_call_gives_what_run_gives_however_the_feeds_change(session):
    x = draw_x(2, 4)
    expected = session.run({"x": x})["logits"]
    call = session.bind({"x": x})
    x[:] = 0
    session.run({"x": draw_x(5, 1)})
    assert np.array_equal(call()["logits"], expected)


def test_bound_calls_of_one_session_stay_apart(session):
    feeds = [{"x": draw_x(2, 4)}, {"x": draw_x(3, 7)}]
    calls = [session.bind(each) for each in feeds]
    for each, call in zip(feeds, [calls[0], calls[1]], strict=True):
        assert np.array_equal(call()["logits"], session.run(each)["logits"])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_in_place_reads_and_writes_the_callers_arrays(engine, gru, define, threads):
    model, path = gru
    session = get_engine(engine).load(path, define(engine, threads=threads))
    x, logits = draw_x(2, 4), np.full((2, 2), np.nan, "float32")
    assert isinstance(session, InPlaceSession)
    call = session.bind_in_place({"x": x}, {"logits": logits})
    for seed in range(4):
        x[:] = draw_x(2, 4, seed=seed)
        call()
        assert logits == pytest.approx(model.expected(x), abs=ATOL)
    with pytest.raises(EngineError, match="input 'x': got float64"):
        session.bind_in_place({"x": x.astype("float64")}, {"logits": logits})


def test_takes_arrays_in_any_memory_order(session):
    x = draw_x(2, 4)
    transposed = np.asfortranarray(x)
    assert np.array_equal(session.run({"x": transposed})["logits"], session.run({"x": x})["logits"])
    assert np.array_equal(session.bind({"x": transposed})()["logits"], session.run({"x": x})["logits"])


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "got inputs [], the model takes ['x']"),
        ({"y": draw_x(1, 1)}, "got inputs ['y'], the model takes ['x']"),
        ({"x": draw_x(1, 2).astype("float64")}, "input 'x': got float64 (1, 2, 3), the model takes float32 ("),
        ({"x": draw_x(1, 2)[0]}, "input 'x': got float32 (2, 3), the model takes float32 ("),
        ({"x": draw_x(1, 2, 4)}, "input 'x': got float32 (1, 2, 4), the model takes float32 ("),
    ],
)
def test_rejects_feeds_that_are_not_the_models(session, feeds, message):
    for call in session.run, session.bind:
        with pytest.raises(EngineError, match=re.escape(message)):
            call(feeds)


@pytest.mark.parametrize("threads", [1, 2])
def test_shape_error_at_run_time_raises_and_the_session_lives_on(engine, threads, add_model, define):
    session = get_engine(engine).load(add_model, define(engine, threads=threads))
    good = {"a": np.ones(3, "float32"), "b": np.ones(3, "float32")}
    assert session.run(good)["sum"].tolist() == [2, 2, 2]
    for call in session.run, session.bind:
        with pytest.raises(EngineError, match=rf"^{engine} failed on 'add.onnx': \w"):
            call({"a": np.ones(3, "float32"), "b": np.ones(4, "float32")})
    assert session.run(good)["sum"].tolist() == [2, 2, 2]


def test_missing_file_is_named(engine, define, tmp_path):
    with pytest.raises(EngineError, match=rf"^{engine} cannot load 'none.onnx': .*\bnone.onnx"):
        get_engine(engine).load(tmp_path / "none.onnx", define(engine))


def test_damaged_file_is_named(engine, define, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(EngineError, match=rf"^{engine} cannot load 'bad.onnx': ") as caught:
        get_engine(engine).load(tmp_path / "bad.onnx", define(engine))
    assert "\n" not in str(caught.value)


def test_rejects_unknown_option_with_the_nearest(engine, gru, define):
    option, nearest = {"onnxruntime": ("allow_spining", "allow_spinning"), "openvino": ("NUM_STREAM", "NUM_STREAMS")}[
        engine
    ]
    with pytest.raises(InputError, match=rf"option '{option}' is unknown; did you mean '{nearest}'\?"):
        get_engine(engine).load(gru[1], define(engine, options={option: 1}))


def test_shipped_definition_is_usable_and_says_the_version(engine):
    definition = load_definition({"onnxruntime": "ort-cpu", "openvino": "openvino-cpu"}[engine])
    availability = get_engine(engine).available(definition)
    assert availability.usable
    assert availability.version
    assert re.fullmatch(r"\d+\.\d+\.\d+", availability.version)
