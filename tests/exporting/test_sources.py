"""Modules as people hand them over: wrapped, in bfloat16, or not to be captured and refused by name."""

import pytest
import torch
from torch import nn

import rnnexport
from rnnexport.capture import parse_input_spec
from rnnexport.errors import InputError
from rnnexport.exporting.sources import prepared

SERIES = parse_input_spec("x:float32[batch,time,5]")


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(5, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0])


def quantized():
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(Tagger()), {nn.Linear}, torch.qint8)


def lazy():
    return nn.Sequential(nn.GRU(5, 8), nn.LazyLinear(2))


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda module: torch.compile(module, backend="eager")])
def test_wrappers_are_taken_off(wrap):
    module = Tagger()
    assert prepared(wrap(module), [SERIES]).module is module


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: torch.jit.script(Tagger()), "a TorchScript module has no Python code"),
        (quantized, "module '0.head' is a quantized Linear"),
        (lazy, "parameter '1.weight' is not initialised yet"),
        (lambda: torch.relu, "is no torch.nn.Module"),
    ],
)
def test_what_cannot_be_captured_is_named(make, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        rnnexport.export(make(), tmp_path / "bundle", inputs=[SERIES])
    assert not any(tmp_path.iterdir())


def test_bfloat16_is_widened_with_a_note_and_the_module_stays(tmp_path):
    module, notes = Tagger().bfloat16(), []
    bundle = rnnexport.export(module, tmp_path / "b", inputs=["x:bfloat16[batch,time,5]"], on_note=notes.append)
    assert notes[0].startswith("the weights are bfloat16")
    assert bundle.manifest.inputs[0].dtype == "float32"
    assert bundle.manifest.runtimes["onnxruntime"] == "right"
    assert module.head.weight.dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_exported_program(tmp_path):
    batch, time = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
    head = nn.Sequential(nn.Linear(5, 8), nn.Tanh()).eval()
    program = torch.export.export(head, (torch.zeros(3, 6, 5),), dynamic_shapes=({0: batch, 1: time},))
    bundle = rnnexport.export(program, tmp_path / "b", inputs=["input:float32[batch,time,5]"])
    assert bundle.manifest.runtimes == {"onnxruntime": "right", "openvino": "right"}
