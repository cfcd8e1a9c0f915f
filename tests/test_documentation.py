"""What the documents show works as pasted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import rnnexport
from benchmarks.export_table.write_table import ROW, readme_row
from rnnexport.bundle.bundle import load_bundle, reference_bundles
from rnnexport.cli.app import COMMANDS, load_command
from rnnexport.engines import get_engine
from rnnexport.linting.rules import all_rules
from rnnexport.parity.diagnosis.fault_models import all_fault_models
from rnnexport.runtime.definitions import list_definitions, load_definition
from tools.write_reference import write_reference

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCH = "".join(
    (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("how-to/bench.md", "explanation/statistics.md")
)
PREDICT = (ROOT / "docs/how-to/deploy.md").read_text(encoding="utf-8")
EXPORT = (ROOT / "docs/reference/export.md").read_text(encoding="utf-8")
REPORT = (ROOT / "docs/how-to/report.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("code", [*blocks(README, "python"), *blocks(BENCH, "python"), *blocks(REPORT, "python")])
def test_python_of_the_documents_runs(code: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/explanation/architecture.md"])
def test_every_room_and_every_file_that_is_named_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "rnnexport").glob("*/__init__.py")}
    assert not [room for room in rooms if not re.search(rf"\b{room}\b", text)]
    named = re.findall(r"`((?:rnnexport/)?[a-z_]+/[a-z_0-9/]+\.py)`", text)
    assert not [name for name in named if not any((root / name).exists() for root in (ROOT, ROOT / "rnnexport"))]


@pytest.mark.parametrize("bundle", reference_bundles(), ids=lambda path: path.name)
def test_the_snippet_of_a_bundle_card_runs(bundle: Path) -> None:
    (code,) = blocks((bundle / "README.md").read_text(encoding="utf-8"), "python")
    subprocess.run([sys.executable, "-c", code + "assert logits.shape == (2, 9)"], check=True, cwd=bundle)


@pytest.mark.parametrize("bundle", reference_bundles(), ids=lambda path: path.name)
def test_the_test_data_of_a_bundle_is_what_the_graph_computes(bundle: Path) -> None:
    def read(kind: str) -> dict[str, np.ndarray]:
        protos = [onnx.TensorProto.FromString(p.read_bytes()) for p in sorted(bundle.glob(f"test_data_set_0/{kind}_*"))]
        return {proto.name: numpy_helper.to_array(proto) for proto in protos}

    session = get_engine("onnxruntime").load(bundle / "model.onnx", load_definition("ort-cpu"))
    for name, expected in read("output").items():
        np.testing.assert_allclose(session.run(read("input"))[name], expected, atol=1e-5, rtol=1e-6)


def test_python_of_the_page_of_predict_runs_as_one(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", "".join(blocks(PREDICT, "python"))], check=True, cwd=tmp_path)


@pytest.mark.slow
def test_the_engine_of_its_page_is_found_and_right(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/write-an-engine.md").read_text(encoding="utf-8")
    (engine,) = blocks(page, "python")
    project, definition = (re.sub("^   ", "", code, flags=re.MULTILINE) for code in blocks(page, "toml"))
    entry = tomllib.loads(project)["project"]["entry-points"]["rnnexport.engines"]["mylibrary"]
    files = {
        "my_engine.py": engine,
        "runtimes/mylibrary-cpu.toml": definition,
        "my_engine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: my-engine\nVersion: 1.0\n",
        "my_engine-1.0.dist-info/entry_points.txt": f"[rnnexport.engines]\nmylibrary = {entry}\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    found = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    verify = "from rnnexport.cli import main; main()"
    arguments = ["verify", str(reference_bundles()[1]), "--runtime", "mylibrary-cpu", "--grid", "quick", "--json"]
    command = [sys.executable, "-c", verify, *arguments]
    environment = {**os.environ, "PYTHONPATH": found}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout)["runtimes"][0]["definition"]["engine"] == "mylibrary"


@pytest.mark.slow
def test_python_of_the_page_of_export_runs_as_one(tmp_path: Path) -> None:
    page = tmp_path / "page.py"  # TorchScript reads the source
    page.write_text("".join(blocks(EXPORT, "python")), encoding="utf-8")
    subprocess.run([sys.executable, page], check=True, cwd=tmp_path)


def test_the_page_of_bench_names_all_its_options_and_no_other() -> None:
    told = set(re.findall(r"--[a-z0-9][a-z0-9-]*", BENCH)) - {"--streaming"}  # of export
    code = "import sys; sys.argv = ['rnnexport', 'bench', '--help']\nfrom rnnexport.cli import main\nmain()"
    environment = {**os.environ, "COLUMNS": "200"}
    helped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    options = set(re.findall(r"^│ \*? *(--[a-z0-9-]+)", helped.stdout, re.MULTILINE))
    assert told - options == set()
    assert options - told <= {"--runtime", "--seed", "--help"}


def test_the_documents_name_every_runtime_and_session() -> None:
    runtimes = (ROOT / "docs/reference/runtimes.md").read_text(encoding="utf-8")
    for definition in list_definitions():
        assert f"`{definition.name}`" in runtimes
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for session in re.findall(r"^@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.MULTILINE):
        assert f"`{session}`" in contributing, session


def test_a_bundle_has_files_that_the_reference_lists() -> None:
    page = (ROOT / "docs/reference/bundle.md").read_text(encoding="utf-8")
    listed = {name.rstrip("/") for name in re.findall(r"`([^`]+)`", page)}
    kept = {name.split("/")[0] for name in load_bundle(reference_bundles()[0]).manifest.files}
    assert kept | {"manifest.json"} <= listed


def test_the_reference_has_every_command_option_rule_and_fault_model(tmp_path: Path) -> None:
    write_reference(tmp_path)
    commands = (tmp_path / "commands.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        command = load_command(name)
        (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", commands, re.MULTILINE | re.DOTALL)
        assert not [
            option
            for each in command.params
            if not each.hidden
            for option in each.opts
            if option[0] == "-" and option not in section
        ]
    rules = (tmp_path / "rules.md").read_text(encoding="utf-8")
    assert all(f"\n## {rule.name}\n" in rules for rule in all_rules())
    models = (tmp_path / "fault-models.md").read_text(encoding="utf-8")
    assert all(f"\n## {model.name}\n" in models for model in all_fault_models())


def test_the_readme_counts_what_the_table_of_exports_has() -> None:
    assert ROW.findall(README) == [readme_row(EXPORT)]


def test_the_reference_has_every_public_function_and_nothing_that_is_not_there() -> None:
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    for module, name in re.findall(r"auto(?:class|function):: (\S+)\.(\w+)", page):
        assert hasattr(import_module(module), name), (module, name)
    shown = set(re.findall(r"autofunction:: rnnexport\.(\S+)", page))
    assert set(rnnexport.__all__) <= shown
    made = re.compile(r"^(\w+) = with_arguments\(", re.MULTILINE)
    for path in (ROOT / "rnnexport").rglob("*.py"):
        for name in made.findall(path.read_text(encoding="utf-8")):
            module = ".".join(path.relative_to(ROOT / "rnnexport").with_suffix("").parts)
            assert name in shown or f"{module}.{name}" in shown


def test_the_public_names_are_those_of_the_readme() -> None:
    assert sorted(rnnexport.__all__) == ["bench", "export", "load", "train", "tune", "verify"]
    assert all(callable(getattr(rnnexport, name)) for name in rnnexport.__all__)
