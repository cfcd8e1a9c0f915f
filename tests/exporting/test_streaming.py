"""A series fed in chunks to the step graph gives what the whole series gives, or the export says why it cannot."""

import json
import re
import subprocess
import sys

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rnnexport
from rnnexport.bundle.bundle import load_bundle
from rnnexport.bundle.store import seal
from rnnexport.errors import ExportError
from rnnexport.models.cells import ResetBeforeGRU
from rnnexport.parity.verify import verify

SERIES = ["x:float32[batch,time,5]"]


class Labels(nn.Module):
    """A label for every step."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(rnn.hidden_size, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.rnn(x)[0]))


class CarriesState(nn.Module):
    """The user's own states, in and out."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 6, 2, batch_first=True)

    def forward(self, x, hx):
        return self.rnn(x, hx)


def _streams(report, runtime):
    judged = next(r for r in report.runtimes if r.definition.name == runtime)
    return [case for case in judged.cases if "stream" in case.case or "chunks" in case.case or "turns" in case.case]


@pytest.mark.parametrize(
    ("rnn", "runtimes"),
    [
        (nn.LSTM(5, 6, 2, batch_first=True), ["ort-cpu", "openvino-cpu"]),
        pytest.param(ResetBeforeGRU(5, 6, batch_first=True, bias=False), ["ort-cpu"], marks=pytest.mark.slow),
        pytest.param(nn.LSTM(5, 6, proj_size=4, batch_first=True), ["ort-cpu"], marks=pytest.mark.slow),
    ],
    ids=["lstm-2", "reset-before", "projected"],
)
def test_chunks_of_any_size_and_streams_that_take_turns_give_the_whole_series_result(rnn, runtimes, tmp_path):
    if getattr(rnn, "proj_size", 0):
        module = Labels(rnn)
        module.head = nn.Linear(4, 3)
    else:
        module = Labels(rnn)
    bundle = rnnexport.export(module, tmp_path / "labels", inputs=SERIES, streaming=True)
    pairs = [list(pair) for pair in bundle.manifest.state_pairs]
    assert json.loads(_metadata(bundle)["rnnexport.state_pairs"]) == pairs
    assert {before[:3] for before, _ in pairs} == ({"h_0", "c_0"} if isinstance(rnn, nn.LSTM) else {"h_0"})
    report = verify(bundle.path, runtimes)
    assert report.passed
    for runtime in runtimes:
        names = " ".join(case.case for case in _streams(report, runtime))
        assert all(how in names for how in ("streamed whole", "in chunks of 1", "in drawn chunks", "taking turns"))


def _metadata(bundle):
    return {prop.key: prop.value for prop in onnx.load(bundle.step_path).metadata_props}


def test_states_that_forward_takes_and_returns_keep_their_names(tmp_path):
    inputs = [*SERIES, "hx.0:float32[2,batch,6]", "hx.1:float32[2,batch,6]"]
    names = ["y", "h_n", "c_n"]
    bundle = rnnexport.export(CarriesState(), tmp_path / "b", inputs=inputs, output_names=names, streaming=True)
    assert bundle.manifest.state_pairs == (("hx.0", "h_n"), ("hx.1", "c_n"))
    assert verify(bundle.path, ["ort-cpu"]).passed


def test_a_checkpoint_streams_without_its_lengths(streaming_gru):
    assert streaming_gru.manifest.state_pairs == (("h_0", "h_n"),)
    assert [info.name for info in streaming_gru.manifest.step.inputs] == ["x", "h_0"]
    assert verify(streaming_gru.path, ["ort-cpu", "torch-cpu"]).passed


def test_verify_fails_a_step_graph_that_forgets_its_state(tmp_path):
    """The graph is a valid bundle's, but every chunk starts from zero."""
    bundle = rnnexport.export(Labels(nn.GRU(5, 6, batch_first=True)), tmp_path / "b", inputs=SERIES, streaming=True)
    model = onnx.load(bundle.step_path)
    (node,) = [node for node in model.graph.node if node.op_type == "GRU"]
    node.input[5] = ""
    onnx.save(model, bundle.step_path)
    seal(bundle.path, bundle.manifest)
    report = verify(load_bundle(bundle.path).path, ["ort-cpu"])
    assert report.exit_status == 1
    failed = [case.case for case in report.runtimes[0].cases if not case.passed]
    assert failed
    assert all("chunks" in name or "turns" in name for name in failed)


class Convolved(nn.Module):
    """Each step needs its neighbours."""

    def __init__(self):
        super().__init__()
        self.conv, self.rnn = nn.Conv1d(5, 5, 3, padding=1), nn.GRU(5, 6, batch_first=True)

    def forward(self, x):
        return self.rnn(self.conv(x.mT).mT)[0]


class LearnedStart(nn.Module):
    """A start that no caller could know."""

    def __init__(self):
        super().__init__()
        self.rnn, self.h_0 = nn.GRU(5, 6, batch_first=True), nn.Parameter(torch.ones(1, 1, 6))

    def forward(self, x):
        return self.rnn(x, self.h_0.repeat(1, x.shape[0], 1))[0]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Labels(nn.GRU(5, 3, batch_first=True, bidirectional=True)), "reads the series from its end"),
        (Convolved(), "a convolution, attention or mean over time"),
        (LearnedStart(), "h_0 is neither zero nor an input"),
        (nn.Sequential(nn.Linear(5, 2)), "no recurrent node"),
    ],
    ids=["bidirectional", "convolution", "learned-start", "no-rnn"],
)
def test_a_model_that_cannot_stream_is_refused_with_the_reason(module, reason, tmp_path):
    if isinstance(module, Labels):
        module.head = nn.Linear(6, 3)
    with pytest.raises(ExportError, match=reason):
        rnnexport.export(module, tmp_path / "b", inputs=SERIES, streaming=True)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@settings(max_examples=settings.default.max_examples // 10)
@given(data=st.data())
def test_any_one_directional_stack_streams(data, tmp_path_factory):
    cell = data.draw(st.sampled_from([nn.LSTM, nn.GRU]))
    options = {"num_layers": data.draw(st.integers(1, 3)), "bias": data.draw(st.booleans())}
    batch_first = data.draw(st.booleans())
    torch.manual_seed(data.draw(st.integers(0, 99)))
    module = cell(5, data.draw(st.integers(1, 9)), batch_first=batch_first, **options)
    inputs = SERIES if batch_first else ["x:float32[time,batch,5]"]
    bundle = rnnexport.export(module, tmp_path_factory.mktemp("b") / "b", inputs=inputs, streaming=True)
    assert len(bundle.manifest.state_pairs) == options["num_layers"] * (2 if cell is nn.LSTM else 1)
    assert verify(bundle.path, ["ort-cpu"]).passed


def test_the_card_of_a_streaming_bundle_shows_how_and_its_code_runs(streaming_gru):
    card = (streaming_gru.path / "README.md").read_text(encoding="utf-8")
    assert "| `h_0` | `h_n` |" in card
    snippet = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1]
    subprocess.run([sys.executable, "-P", "-c", snippet], cwd=streaming_gru.path, check=True)
