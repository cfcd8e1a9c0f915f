"""A file without its source is a first-class input: what it computes in float64 is what every runtime is held to."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import rnnexport
from rnnexport.errors import ExportError, InputError
from tests.bundles import altered


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(10, 4), nn.LSTM(4, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, tokens):
        y = self.head(self.rnn(self.embedding(tokens))[0])
        return y, y.argmax(-1) > 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """What PyTorch's own exporter writes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tagger.onnx"
    dimensions = {0: "batch", 1: "time"}
    torch.onnx.export(Tagger().eval(), (torch.zeros(2, 3, dtype=torch.int64),), str(path), dynamo=False,
                      input_names=["tokens"], output_names=["y", "is_first"],
                      dynamic_axes=dict.fromkeys(["tokens", "y", "is_first"], dimensions))  # fmt: skip
    return path


pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_file_is_verified_and_measured_against_itself_in_float64(model, tmp_path):
    bundle = rnnexport.export(model, tmp_path / "bundle")
    assert bundle.manifest.source.kind == "onnx"
    assert bundle.model_path.read_bytes() == model.read_bytes()
    report = rnnexport.verify(bundle.path, grid="quick")
    judged = {runtime.definition.name: runtime for runtime in report.runtimes}
    assert report.passed
    assert len(judged["ort-cpu"].cases) > 2
    assert "keeps no source model" in judged["torch-cpu"].not_applicable
    rows = rnnexport.bench([bundle.path], ["ort-cpu"], batch_sizes=[3], time_steps=[11], seconds=0.05).measurements
    assert [row.failure for row in rows] == [None]


@pytest.mark.slow
def test_a_runtime_that_computes_something_else_fails(model, tmp_path):
    """The bundle's graph is exchanged after the reference was taken."""

    def scale_a_weight(graph):
        weight = next(tensor for tensor in graph.graph.initializer if len(tensor.dims) == 3)
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.01, weight.name))

    bundle = rnnexport.export(model, tmp_path / "bundle")
    changed = altered(bundle.path, tmp_path / "changed", scale_a_weight)
    assert rnnexport.verify(changed, ["ort-cpu"], grid="quick").exit_status == 1


@pytest.mark.slow
def test_real_inputs_take_the_place_of_drawn_ones(model, tmp_path):
    np.savez(tmp_path / "sample.npz", tokens=np.array([[1, 2, 3, 4], [9, 8, 7, 6]]))
    bundle = rnnexport.export(model, tmp_path / "bundle", sample=tmp_path / "sample.npz")
    names = [case.case for case in rnnexport.verify(bundle.path, ["ort-cpu"]).runtimes[0].cases]
    assert names[:3] == ["the given inputs", "their first row", "the given inputs"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"letters": np.zeros((2, 3), np.int64)}, r"holds \['letters'\], the model takes \['tokens'\]"),
        ({"tokens": np.zeros((2, 3), np.float32)}, r"'tokens' is float32 \[2, 3\], the model takes int64"),
        ({"tokens": np.full((2, 3), 99)}, "has no reference at the given inputs"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(arrays, message, model, tmp_path):
    np.savez(tmp_path / "sample.npz", **arrays)
    with pytest.raises(InputError, match=message):
        rnnexport.export(model, tmp_path / "bundle", sample=tmp_path / "sample.npz")
    assert not (tmp_path / "bundle").exists()


def test_external_data_comes_along(model, tmp_path):
    onnx.save(onnx.load(model), tmp_path / "large.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    bundle = rnnexport.export(tmp_path / "large.onnx", tmp_path / "bundle")
    assert "w.bin" in bundle.manifest.files
    assert rnnexport.verify(bundle.path, ["ort-cpu"]).passed


class Listener(nn.Module):
    """Gives a row of probabilities for each step."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0]).softmax(-1)


@pytest.fixture(scope="module", params=["named", pytest.param("unnamed", marks=pytest.mark.slow)])
def listener(request, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "listener.onnx"
    axes = {name: {0: "batch", 1: "time"} for name in "xy"}
    torch.onnx.export(Listener().eval(), (torch.zeros(2, 3, 3),), str(path), dynamo=False,
                      input_names=["x"], output_names=["y"], dynamic_axes=axes)  # fmt: skip
    if request.param == "unnamed":
        proto = onnx.load(path)
        for value in (*proto.graph.input, *proto.graph.output):
            for dimension in value.type.tensor_type.shape.dim:
                dimension.ClearField("dim_param")
        onnx.save(proto, path)
    return path


def test_a_file_whose_states_are_recognised_streams_and_speaks_the_users_words(listener, tmp_path):
    bundle = rnnexport.export(listener, tmp_path / "bundle", streaming=True, class_names=["quiet", "speech"])
    assert bundle.manifest.state_pairs == (("h_0", "h_n"),)
    report = rnnexport.verify(bundle.path, ["ort-cpu"], grid="quick")
    assert report.passed
    assert any("in chunks" in case.case for case in report.runtimes[0].cases)
    x = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    predictor = rnnexport.load(bundle.path)
    probabilities = predictor.run({"x": x[None]})["y"][0]
    np.testing.assert_allclose(predictor([x])[0], probabilities, rtol=1e-6)  # they were probabilities already
    words = [("quiet", "speech")[place] for place in probabilities.argmax(1)]
    assert predictor.predict({"a": x}).series[0].steps == words
    stream = predictor.stream()
    chunks = [stream(chunk[None]) for chunk in np.split(x, [2, 3, 7])]
    np.testing.assert_allclose(np.concatenate(chunks, 1)[0], probabilities, atol=1e-6)


def test_a_file_that_cannot_stream_is_refused(model, tmp_path):
    with pytest.raises(ExportError, match="it reads the series from its end, so it cannot run step by step"):
        rnnexport.export(model, tmp_path / "bundle", streaming=True)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b"], "name the columns of a model's only output; this one gives y, is_first"),
        (["a", "a"], "'a' is there twice"),
        (["a", "\x1b"], "is no name that can be printed"),
    ],
)
def test_names_that_fit_no_output_are_refused(model, tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        rnnexport.export(model, tmp_path / "bundle", class_names=names)
    assert not (tmp_path / "bundle").exists()
