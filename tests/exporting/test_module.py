"""A user's own module as a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnexport
from rnnexport.bundle.bundle import load_bundle
from rnnexport.errors import CheckpointError, ExportError, InputError
from rnnexport.exporting.user_code import load_module
from rnnexport.parity.verify import verify

INPUTS = ["tokens:int64[batch,time]", "lengths:int64[batch]"]
RUNTIMES = ["ort-cpu", "openvino-cpu"]


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(50, 8)
        self.rnn = nn.LSTM(8, 16, 2, bidirectional=True, batch_first=True, dropout=0.1)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        packed = pack_padded_sequence(self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)
        padded, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=tokens.shape[1])
        return {"tags": self.head(padded)}


def test_a_module_is_verified_without_its_code(tmp_path: Path) -> None:
    bundle = rnnexport.export(Tagger(), tmp_path / "tagger", inputs=INPUTS)
    assert {info.name: (info.role, info.upper_bound) for info in bundle.manifest.inputs} == {
        "tokens": ("indices", 50),
        "lengths": ("lengths", None),
    }
    report = verify(bundle.path, [*RUNTIMES, "torch-cpu"])
    assert report.exit_status == 0, report
    assert [runtime.definition.name for runtime in report.runtimes if runtime.not_applicable] == ["torch-cpu"]


@pytest.mark.slow
def test_plain_sequence_lens_fails_where_the_runtime_ignores_it(tmp_path: Path) -> None:
    bundle = rnnexport.export(Tagger(), tmp_path / "tagger", inputs=INPUTS, lengths="sequence-lens")
    passed = {
        runtime.definition.name: runtime.passed for runtime in verify(bundle.path, RUNTIMES, grid="quick").runtimes
    }
    assert passed == {"ort-cpu": True, "openvino-cpu": False}


@pytest.mark.slow
def test_without_lengths_the_graph_has_no_such_input(tmp_path: Path) -> None:
    bundle = rnnexport.export(Tagger(), tmp_path / "tagger", inputs=INPUTS, lengths="none")
    assert [info.name for info in bundle.manifest.inputs] == ["tokens"]
    assert verify(bundle.path, ["ort-cpu"], grid="quick").passed


@pytest.mark.slow
def test_two_time_axes_get_different_sizes(tmp_path: Path) -> None:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.GRU(3, 4, batch_first=True), nn.GRU(2, 4, batch_first=True)

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            return self.decoder(target, self.encoder(source)[1])[0]

    inputs = ["source:float32[batch,source_time,3]", "target:float32[batch,target_time,2]"]
    bundle = rnnexport.export(Translator(), tmp_path / "translator", inputs=inputs)
    with np.load(bundle.path / "parity_cases.npz", allow_pickle=False) as kept:
        shapes = {kept[name].shape[1] for name in kept.files if name.endswith(("input/source", "input/target"))}
    assert len(shapes) > len(set(range(7)) & shapes)
    assert verify(bundle.path, ["ort-cpu"]).passed


def test_a_module_in_half_precision(tmp_path: Path) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0]

    bundle = rnnexport.export(Half().half(), tmp_path / "half", inputs=["x:float16[batch,time,3]"])
    assert bundle.manifest.outputs[0].dtype == "float16"
    assert verify(bundle.path, ["ort-cpu"]).passed


def test_a_forward_that_fails_at_another_size_writes_nothing(tmp_path: Path) -> None:
    class Capricious(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4, batch_first=True)
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            if not torch.compiler.is_exporting():
                raise RuntimeError("out of paper")
            return self.rnn(x)[0]

    with pytest.raises(ExportError, match=r"fails at every size that was tried, .*: RuntimeError: out of paper"):
        rnnexport.export(Capricious(), tmp_path / "new", inputs=["x:float32[batch,time,3]"])
    assert list(tmp_path.iterdir()) == []


def test_a_module_needs_inputs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a module needs its inputs"):
        rnnexport.export(Tagger(), tmp_path / "tagger")


MODULE = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.GRU(2, 3, batch_first=True)
    def forward(self, x):
        return self.rnn(x)[0]
def other():
    return 3
def broken():
    raise RuntimeError("no licence")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    name = f"user_models_{tmp_path.name.replace('-', '_')}"
    Path(f"{name}.py").write_text(MODULE)
    return name


def test_weights_are_loaded_into_the_named_class(package: str) -> None:
    model = load_module(f"{package}:Net")
    weights = {name: torch.full_like(tensor, 0.5) for name, tensor in model.state_dict().items()}
    save_file(weights, "net.safetensors")
    loaded = load_module(f"{package}:Net", Path("net.safetensors"))
    torch.testing.assert_close(dict(loaded.state_dict()), weights)


@pytest.mark.parametrize(
    "wrap", [lambda w: w, lambda w: {"state_dict": {f"net.{k}": v for k, v in w.items()}, "epoch": 3}]
)
@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_weights_come_from_state_dicts_and_checkpoints(package: str, suffix: str, wrap) -> None:
    model = load_module(f"{package}:Net")
    weights = {name: torch.full_like(tensor, 0.5) for name, tensor in model.state_dict().items()}
    torch.save(wrap(weights), f"net{suffix}")
    notes: list[str] = []
    loaded = load_module(f"{package}:Net", Path(f"net{suffix}"), on_note=notes.append)
    torch.testing.assert_close(dict(loaded.state_dict()), weights)
    assert bool(notes) == ("state_dict" in wrap(weights))


class Executes:
    """A pickle that would run code."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_a_checkpoint_that_would_run_code_is_refused(package: str) -> None:
    torch.save({"state_dict": Executes()}, "net.ckpt")
    with pytest.raises(CheckpointError, match="holds more than tensors, which is not opened because it could run code"):
        load_module(f"{package}:Net", Path("net.ckpt"))
    assert not Path("ran").exists()


def test_a_class_is_built_with_arguments(package: str) -> None:
    assert isinstance(load_module("torch.nn:GRU", kwargs={"input_size": 3, "hidden_size": 7}), torch.nn.GRU)


def test_weights_that_do_not_fit_are_refused(package: str) -> None:
    save_file({"rnn.weight_ih_l0": torch.zeros(9, 5)}, "net.safetensors")
    with pytest.raises(
        CheckpointError, match=r"net\.safetensors does not fit .*:Net: tensor 'rnn\.bias_hh_l0' is only in"
    ):
        load_module(f"{package}:Net", Path("net.safetensors"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}", "names no module; write it like 'my_package.models:TaggerNet'"),
        ("{}:Nett", "cannot be built: AttributeError: .* has no attribute 'Nett'"),
        ("no_such_package:Net", "cannot be built: ModuleNotFoundError: No module named 'no_such_package'"),
        ("{}:other", "gives a int, not a torch.nn.Module"),
        ("{}:broken", "cannot be built: RuntimeError: no licence"),
    ],
)
def test_names_that_give_no_module_are_refused(package: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_module(name.format(package))


def test_code_is_imported_only_when_it_is_named(package: str, tmp_path: Path) -> None:
    bundle = rnnexport.export(load_module(f"{package}:Net"), tmp_path / "net", inputs=["x:float32[batch,time,2]"])
    Path(f"{package}.py").write_text("raise SystemExit('imported')")
    assert load_bundle(bundle.path).manifest.source.name == "Net"
    assert verify(bundle.path, ["ort-cpu"]).passed


@pytest.mark.slow
def test_weights_that_protobuf_cannot_hold_go_into_a_file_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnexport.exporting.writing.EXTERNAL_DATA_BYTES", 1000)
    bundle = rnnexport.export(nn.LSTM(5, 16, batch_first=True), tmp_path / "b", inputs=["input:float32[batch,time,5]"])
    assert "model.onnx.data" in bundle.manifest.files
    assert bundle.model_path.stat().st_size < bundle.path.joinpath("model.onnx.data").stat().st_size
    assert rnnexport.verify(bundle.path).passed


@pytest.mark.slow
def test_bench_holds_a_module_s_graph_to_its_float64_form(tmp_path: Path) -> None:
    bundle = rnnexport.export(nn.GRU(5, 6, batch_first=True), tmp_path / "b", inputs=["input:float32[batch,time,5]"])
    rows = rnnexport.bench([bundle.path], batch_sizes=[2], time_steps=[7], seconds=0.05).measurements
    assert {row.definition.name: row.failure for row in rows if row.not_applicable is None} == {
        "ort-cpu": None,
        "openvino-cpu": None,
    }


def test_flags_may_have_to_be_a_mask(tmp_path: Path) -> None:
    class Masked(nn.Module):
        """Fails where a row of the mask has no step, as PyTorch's packing does."""

        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(5, 8, batch_first=True)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            packed = pack_padded_sequence(x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
            return self.rnn(packed)[1][-1]

    rnnexport.export(Masked(), tmp_path / "b", inputs=["x:float32[batch,time,5]", "mask:bool[batch,time]"])
