"""A module's graph is judged in each runtime before it is written, at sizes that the trace took for granted, too."""

from pathlib import Path

import pytest
import torch
from packaging.version import Version
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnexport
from rnnexport.errors import ExportError

SERIES = "x:float32[batch,time,5]"


class Run(nn.Module):
    """A GRU behind a function of the module and its input."""

    def __init__(self, function):
        super().__init__()
        self.rnn = nn.GRU(5, 8, batch_first=True)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def in_halves(m, x):
    first, second = x.chunk(2, 1)
    return m.rnn(first)[0], m.rnn(second)[0]


def in_three(m, x):
    return torch.stack([m.rnn(piece)[0].mean(1) for piece in x.chunk(3, 1)]).sum(0)


def attention(m, x):
    y = m.rnn(x)[0]
    return nn.functional.scaled_dot_product_attention(y, y, y)


@pytest.mark.slow
def test_pieces_that_every_size_has_are_right(tmp_path):
    notes = []
    bundle = rnnexport.export(Run(in_halves), tmp_path / "b", inputs=[SERIES], on_note=notes.append)
    assert bundle.manifest.runtimes == {"onnxruntime": "right", "openvino": "right"}
    assert bundle.manifest.sizes["time"].minimum == 2
    assert "the module takes time >= 2" in notes


def test_pieces_that_some_sizes_do_not_have_are_refused_by_the_place(tmp_path):
    line = in_three.__code__.co_firstlineno + 1
    with pytest.raises(ExportError, match=f"test_judging.py:{line}: forward cuts a dimension of any size into pieces"):
        rnnexport.export(Run(in_three), tmp_path / "b", inputs=[SERIES])
    assert not any(tmp_path.iterdir())


def test_a_runtime_that_is_wrong_is_named_and_refused_if_strict(tmp_path):
    notes = []
    bundle = rnnexport.export(Run(attention), tmp_path / "b", inputs=[SERIES], on_note=notes.append)
    if bundle.manifest.runtimes["openvino"] == "right":
        pytest.skip("this OpenVINO computes attention right after a call of one step")
    assert bundle.manifest.runtimes["onnxruntime"] == "right"
    assert any(note.startswith("openvino: the graph is wrong at ") for note in notes)
    with pytest.raises(ExportError, match=r"openvino: the graph is wrong at .*; without strict it is written"):
        rnnexport.export(Run(attention), tmp_path / "strict", inputs=[SERIES], strict=True)
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("kind", "minimum", "step"),
    [(nn.Conv1d(5, 5, 4, stride=2), 4, 1), pytest.param(nn.MaxPool1d(3), 3, 1, marks=pytest.mark.slow)],
    ids=["convolution", "pooling"],
)
def test_the_manifest_states_the_sizes_and_only_such_are_drawn(kind, minimum, step, tmp_path):
    module = Run(lambda m, x: m.rnn(m.first(x.transpose(1, 2)).transpose(1, 2))[0])
    module.first = kind
    bundle = rnnexport.export(module, tmp_path / "b", inputs=[SERIES])
    assert (bundle.manifest.sizes["time"].minimum, bundle.manifest.sizes["time"].step) == (minimum, step)
    assert rnnexport.verify(bundle.path, ["ort-cpu"], grid="quick").passed


def test_values_are_drawn_from_the_stated_range(tmp_path):
    module = Run(lambda m, tokens: m.rnn(m.embedding(tokens - 100))[0])
    module.embedding = nn.Embedding(4, 5)
    bundle = rnnexport.export(module, tmp_path / "b", inputs=["tokens:int64[batch,time] in 100..103"])
    assert bundle.manifest.inputs[0].values == (100, 103)


def test_integers_that_count_steps_are_found_out(tmp_path):
    class Last(Run):
        def forward(self, x, lengths):
            return self.rnn(x)[0].gather(1, (lengths - 1).view(-1, 1, 1).expand(-1, 1, 8)).squeeze(1)

    bundle = rnnexport.export(Last(None), tmp_path / "b", inputs=[SERIES, "lengths:int64[batch]"])
    assert bundle.manifest.runtimes["onnxruntime"] == "right"


def test_padding_that_reaches_the_output_refuses_nothing(tmp_path):
    class Mean(Run):
        def forward(self, x, lengths):
            mask = (torch.arange(x.size(1)) < lengths[:, None]).float().unsqueeze(-1)
            return (self.rnn(x)[0] * mask).sum(1) / mask.sum(1)  # NaN on padding stays NaN

    bundle = rnnexport.export(Mean(None), tmp_path / "b", inputs=[SERIES, "lengths:int64[batch]"])
    assert bundle.manifest.runtimes["onnxruntime"] == "right"


class Attends(nn.Module):
    """A translator that is told the words before: each step looks at the packed rows."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.GRU(4, 6, batch_first=True), nn.GRUCell(10, 6)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        memory, _ = pad_packed_sequence(self.encoder(rows)[0], batch_first=True)
        padded = torch.arange(memory.shape[1]) >= lengths[:, None]
        h, steps = x.new_zeros(x.shape[0], 6), []
        for step in told.unbind(1):
            scores = torch.bmm(memory, h[..., None])[..., 0].masked_fill(padded, float("-inf"))
            h = self.cell(torch.cat([step, torch.bmm(scores.softmax(1)[:, None], memory)[:, 0]], 1), h)
            steps.append(h)
        return torch.stack(steps, 1)


@pytest.mark.skipif(
    Version(torch.__version__) < Version("2.13"), reason="PyTorch before 2.13 scans no size that a tensor holds"
)
@pytest.mark.filterwarnings("ignore")
def test_a_loop_that_reads_what_packed_rows_gave_is_right_in_both_runtimes(tmp_path: Path) -> None:
    inputs = ["x:float32[batch,time,4]", "lengths:int64[batch]", "told:float32[batch,words,4]"]
    bundle = rnnexport.export(Attends().eval(), tmp_path / "b", inputs=inputs)
    assert bundle.manifest.runtimes == {"onnxruntime": "right", "openvino": "right"}
