import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnnexport.engines import get_engine
from rnnexport.errors import CheckpointError, EngineError, RuntimeUnavailableError
from rnnexport.models.classifier import ModelConfig, ModelDescription, SequenceClassifier, save_model
from tests.examples import few_examples

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device that torch can use")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SequenceClassifier(ModelConfig(cell="gru", input_size=3, hidden_size=8, num_outputs=4, bidirectional=True))


@pytest.fixture
def saved(model, tmp_path):
    description = ModelDescription(config=model.config, task="t", metric="accuracy", class_names=tuple("abcd"))
    save_model(model, description, tmp_path)
    return tmp_path / "model.json"


@pytest.fixture
def feeds():
    x = np.random.default_rng(0).normal(size=(3, 7, 3)).astype("float32")
    return {"x": x, "lengths": np.array([7, 1, 4])}


def load(path, define, precision="float32", **keys):
    return get_engine("torch").load(path, define("torch", precision, **keys))


@given(cell=st.sampled_from(["lstm", "gru"]), layers=st.integers(1, 2), bidirectional=st.booleans())
@settings(few_examples(), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_against_module_in_float64(cell, layers, bidirectional, feeds, define, tmp_path):
    config = ModelConfig(
        cell=cell, input_size=3, hidden_size=5, num_outputs=2, num_layers=layers, bidirectional=bidirectional
    )
    model = SequenceClassifier(config).eval()
    save_model(model, ModelDescription(config=config, task="t", metric="m", class_names=("a", "b")), tmp_path)
    actual = load(tmp_path / "model.json", define, "float64").run(feeds)["logits"]
    expected = model.double()(torch.from_numpy(feeds["x"]).double(), torch.from_numpy(feeds["lengths"]))
    assert actual.dtype == np.float64
    assert np.array_equal(actual, expected.detach().numpy())


def test_each_precision_is_as_exact_as_it_can_be(saved, feeds, define):
    oracle = load(saved, define, "float64").run(feeds)["logits"]
    error = {}
    for precision in ("float32", "bfloat16"):
        logits = load(saved, define, precision).run(feeds)["logits"]
        assert logits.dtype == np.float32
        error[precision] = abs(logits - oracle).max()
    assert 0 < error["float32"] < 1e-6 < 1e-4 < error["bfloat16"] < 0.1


def test_says_what_the_model_takes_and_gives(saved, define):
    session = load(saved, define)
    assert [str(spec) for spec in session.inputs] == ["float32 (batch, time, 3)", "int64 (batch)"]
    assert [str(spec) for spec in session.outputs] == ["float32 (batch, 4)"]


def test_reads_the_weights_of_a_bundle(saved, feeds, define):
    expected = load(saved, define).run(feeds)["logits"]
    (saved.parent / "model.safetensors").rename(saved.parent / "weights.safetensors")
    assert np.array_equal(load(saved, define).run(feeds)["logits"], expected)


def test_bound_call_gives_what_run_gives_however_the_feeds_change(saved, feeds, define):
    session = load(saved, define)
    expected = session.run(feeds)["logits"]
    call = session.bind(feeds)
    feeds["x"][:] = 0
    assert np.array_equal(call()["logits"], expected)


def test_threads_of_the_definition(saved, define):
    before = torch.get_num_threads()
    load(saved, define, threads=1)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": np.array([7, 0, 4])}, "torch failed: Length of all samples has to be greater than 0"),
        ({"lengths": np.array([8, 1, 4])}, "torch failed: "),
        ({"lengths": np.array([7, 1])}, "input 'lengths': got 2 for the 3 series of 'x'"),
        ({"lengths": np.array([7, 1, 4], "int32")}, "input 'lengths': got int32 (3,), the model takes int64 (batch)"),
    ],
)
def test_rejects_bad_lengths(saved, feeds, define, change, message):
    with pytest.raises(EngineError, match=re.escape(message)):
        load(saved, define).run(feeds | change)


def test_missing_weights_are_named(saved, define):
    (saved.parent / "model.safetensors").unlink()
    message = f"{saved.parent}: no weights.safetensors or model.safetensors beside 'model.json'"
    with pytest.raises(EngineError, match=re.escape(message)):
        load(saved, define)


def test_missing_description_is_named(tmp_path, saved, define):
    with pytest.raises(CheckpointError, match=r"none\.json"):
        load(tmp_path / "none.json", define)


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_without_cuda_build_says_what_mends_it(saved, define):
    message = "runtime 'mine' is not usable: this torch is built without CUDA; run: pip install --force-reinstall torch"
    with pytest.raises(RuntimeUnavailableError, match=message):
        load(saved, define, device="cuda")


@pytest.mark.gpu
@on_cuda
def test_cuda_computes_without_tf32(saved, feeds, define):
    oracle = load(saved, define, "float64").run(feeds)["logits"]
    assert load(saved, define, device="cuda").run(feeds)["logits"] == pytest.approx(oracle, abs=1e-6)
