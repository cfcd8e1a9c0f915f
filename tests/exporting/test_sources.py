"""Modules as people hand them over: wrapped, in bfloat16, or not to be captured and refused by name."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import rnnexport
from rnnexport.bundle.bundle import load_bundle
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
        (quantized, "module '0.head' is a quantized Linear"),
        (lambda: Tagger().double(), "module 'rnn' is a float64 GRU, which ONNX Runtime does not compute"),
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


def scripted():
    return torch.jit.script(Tagger())


def traced():
    return torch.jit.trace(Tagger().eval(), (torch.zeros(3, 6, 5),))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [scripted, pytest.param(traced, marks=pytest.mark.slow)])
def test_a_torchscript_file(make, tmp_path, run):
    script = make()
    script.save(tmp_path / "tagger.pt")
    ended = run("export", tmp_path / "tagger.pt", "--input", "x:float32[batch,time,5]", "--out", tmp_path / "b")
    assert ended.status == 0, ended.err
    bundle = load_bundle(tmp_path / "b")
    assert bundle.manifest.source.name == "Tagger"
    assert bundle.manifest.runtimes == {"onnxruntime": "right", "openvino": "right"}
    x = torch.randn(2, 9, 5)
    actual = rnnexport.load(bundle.path).run({"x": x.numpy()})["output"]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(actual), script(x))
    assert [node.op_type for node in onnx.load(bundle.model_path).graph.node].count("GRU") == 1


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_file_without_a_forward_is_refused(tmp_path):
    torch.jit.script(nn.GRU(5, 8, batch_first=True)).save(tmp_path / "gru.pt")
    with pytest.raises(InputError, match="the TorchScript module GRU has no forward"):
        rnnexport.export(tmp_path / "gru.pt", tmp_path / "b", inputs=[SERIES])


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if bool(x.sum() > 0) else x - 1


class LoopOfCells(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(5, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(x.size(0), 8)
        steps: list[torch.Tensor] = []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            steps.append(h)
        return torch.stack(steps, 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_loop_of_a_script(tmp_path):
    bundle = rnnexport.export(torch.jit.script(LoopOfCells()), tmp_path / "b", inputs=[SERIES])
    assert bundle.manifest.runtimes == {"onnxruntime": "right", "openvino": "right"}
    assert [node.op_type for node in onnx.load(bundle.model_path).graph.node].count("GRU") == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_that_branches_on_values_takes_the_way_that_they_ask_for(tmp_path):
    bundle = rnnexport.export(torch.jit.script(Branches()), tmp_path / "b", inputs=[SERIES])
    assert bundle.manifest.runtimes == {"onnxruntime": "right", "openvino": "right"}
    model = rnnexport.load(bundle.path)
    for x in (np.ones((2, 3, 5), np.float32), -np.ones((1, 4, 5), np.float32)):
        (y,) = model.run({"x": x}).values()
        np.testing.assert_array_equal(y, x + np.sign(x))


def test_files_that_hold_no_script_are_refused(tmp_path):
    torch.save(Tagger().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match="holds no TorchScript module"):
        rnnexport.export(tmp_path / "weights.pt", tmp_path / "b", inputs=[SERIES])
    (tmp_path / "program.pt2").write_bytes(b"")
    with pytest.raises(InputError, match="exported program, which is not opened because it could run code"):
        rnnexport.export(tmp_path / "program.pt2", tmp_path / "b", inputs=[SERIES])
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_layers_of_an_exported_program_stay_layers(tmp_path):
    dynamic = {0: torch.export.Dim.DYNAMIC}  # torch.export itself fixes the number of steps
    program = torch.export.export(Tagger().eval(), (torch.zeros(3, 6, 5),), dynamic_shapes=(dynamic,))
    bundle = rnnexport.export(program, tmp_path / "b", inputs=["x:float32[batch,6,5]"])
    assert [node.op_type for node in onnx.load(bundle.model_path).graph.node].count("GRU") == 1


class ScriptedCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.cell = nn.LayerNorm(5), nn.GRUCell(5, 5)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return self.norm(self.cell(x, h))


class AroundScripts(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([torch.jit.script(ScriptedCell()), ScriptedCell()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, steps = torch.zeros(x.shape[0], 5), []
        for step in x.unbind(1):
            for cell in self.cells:
                h = cell(step, h)
            steps.append(h)
        return torch.stack(steps, 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_parts_of_a_module_may_be_scripts(tmp_path):
    module = AroundScripts().eval()
    bundle = rnnexport.export(module, tmp_path / "b", inputs=["x:float32[batch,time,5]"])
    assert isinstance(module.cells[0], torch.jit.ScriptModule)
    x = torch.randn(2, 7, 5)
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(rnnexport.load(bundle.path).run({"x": x.numpy()})["output"], expected, atol=1e-5)
