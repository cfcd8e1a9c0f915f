"""`rnnexport.toml`: what is wrong with it is one line with the file and the key, and nothing has run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from rnnexport.bundle.bundle import reference_bundles
from rnnexport.checking.configuration import Configuration, read_configuration
from rnnexport.checking.models import chosen_models
from tests.command_line import Run

GRU = str(reference_bundles()[1])
PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/ci.md"
MODULE = '[[models]]\nsource = "nets:Net"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("verfy = 1", "key 'verfy' is unknown; did you mean 'verify'?"),
        (
            "[limits]\nmemry = 3",
            "[limits]: key 'memry' is unknown; did you mean 'memory'? choose one of: ",
        ),
        ('[[models]]\nsource = "a"\n[models.limits]\nsize = 1', "[models[0].limits]: key 'size' is unknown"),
        ("[[models]]\nname = 'a'", "key 'models[0].source' is missing"),
        ("[bench]\nbatch_sizes = [4, 0]", "bench.batch_sizes[1] = 0: must be greater than or equal to 1"),
        ('[bench]\nseconds = "3"', "bench.seconds = '3': must be a valid number"),
        ('[limits]\nmodel_size = "2 XB"', "limits.model_size = '2 XB': must be could"),
        ('[verify]\ngrid = "huge"', "verify.grid = 'huge': must be 'quick', 'default' or 'full'"),
        ('[lint]\nignore = ["fixed-bach"]', "lint.ignore: rule 'fixed-bach' is unknown; did you mean 'fixed-batch'?"),
        ('skip = ["bench"]\n[limits]\nlatency_ms = 5', "limits.latency_ms needs what bench measures"),
        ("[limits", "is not TOML: "),
    ],
)
def test_a_wrong_file_is_one_line_that_names_file_and_key(run: Run, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    outcome = run("check", GRU, "--config", str(path))
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"rnnexport: {path}: {message}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", [], "there is nothing to judge; name a bundle such as exported/gru, or list [[models]] in rnnexport.toml"),
        ("", ["a/gru", "b/gru"], "a/gru and b/gru are both called 'gru'; give one a name of its own"),
        (MODULE, [], "model nets:Net: a module needs its inputs; list it under [[models]] in rnnexport.toml"),
        ("", ["net.pt"], "model net.pt: a module needs its inputs; list it under [[models]] in rnnexport.toml"),
        ('[[models]]\nsource = "net.pt"\nkwargs = {a = 1}', [], "model net.pt: kwargs is not for a TorchScript file"),
        (MODULE + 'sample = "x.npz"', [], "model nets:Net: sample is not for a module; leave it out"),
        (f'[[models]]\nsource = "{GRU}"\nstreaming = true', [], f"model {GRU}: streaming is not for a bundle"),
        ("", [GRU, "--junit", "nowhere/j.xml"], "--junit nowhere/j.xml: there is no folder "),
        ('skip = ["baseline"]', [GRU, "--write-baseline"], "--write-baseline makes what the configuration skips"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_runs(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rnnexport.toml").write_text(text)
    outcome = run("check", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"rnnexport: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["rnnexport.toml"]


def test_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "ci.toml").write_text(
        '[limits]\nmodel_size = "2 KB"\n[[models]]\nsource = "models/tagger.onnx"\nsample = "x.npz"\n'
        '[[models]]\nsource = "nets.big:Net"\ninputs = ["x:float32[batch,time,4]"]\nlimits = {model_size = 9}\n'
    )
    configuration, folder = read_configuration(tmp_path / "ci.toml")
    tagger, net = chosen_models(configuration, folder, [])
    assert (tagger.name, tagger.kind, tagger.source) == ("tagger", "onnx", tmp_path / "models/tagger.onnx")
    assert tagger.settings.sample == str(tmp_path / "x.npz")
    assert (net.name, net.kind, net.settings.source) == ("Net", "module", "nets.big:Net")
    assert (net.out, net.limits.model_size) == (tmp_path / "exported/Net", 9)
    assert tagger.limits.model_size == 2000
    named = chosen_models(configuration, folder, ["Net", "other.onnx"])
    assert [model.settings.inputs for model in named] == [["x:float32[batch,time,4]"], ()]


def keys_of(model: type[BaseModel], table: str = "") -> set[str]:
    """Every key of the configuration, such as `limits.memory`."""
    keys = set()
    for name, field in model.model_fields.items():
        inner = [each for each in (field.annotation, *get_args(field.annotation)) if isinstance(each, type)]
        models = [each for each in inner if issubclass(each, BaseModel)]
        keys |= keys_of(models[0], f"{name}.") if models and not table else {f"{table}{name}"}
    return keys


def test_the_page_names_every_key_and_its_example_is_read(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = {key for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for key in re.findall(r"`([^`]+)`", row)}
    assert named == keys_of(Configuration)
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "rnnexport.toml").write_text(example)
    configuration, folder = read_configuration(tmp_path / "rnnexport.toml")
    models = chosen_models(configuration, folder, [])
    assert [(model.name, model.kind) for model in models] == [("gru", "bundle"), ("TaggerNet", "module")]
    assert [model.limits.model_size for model in models] == [None, 4_000_000]


def test_without_a_file_the_defaults_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_configuration(None) == (Configuration(), Path())
