"""The GitHub Action and the pre-commit hook, by the shell commands that they run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from rnnexport.bundle.bundle import reference_bundles
from tests.command_line import Run
from tests.evidence import EVIDENCE

ROOT = Path(__file__).resolve().parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def run_action(folder: Path, given: dict[str, str]) -> tuple[int, str]:
    """Run the steps after the installation as a runner does; return the status of the last and the job's summary."""
    inputs = {name: about["default"] for name, about in ACTION["inputs"].items()} | given
    scripts = folder / "bin"  # what the installation puts on the path
    scripts.mkdir()
    command = scripts / "rnnexport"
    command.write_text(f"#!{sys.executable}\nfrom rnnexport.cli import main\nmain()\n")
    command.chmod(0o755)
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    runner = {name: str(path) for name, path in files.items()}
    environment = {
        **os.environ,
        **runner,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    outputs: dict[str, str] = {}

    def filled(text: str) -> str:
        known = {f"inputs.{name}": value for name, value in inputs.items()}
        known |= {f"steps.check.outputs.{name}": value for name, value in outputs.items()}
        return re.sub(r"\$\{\{ *(\S+) *\}\}", lambda found: known[found.group(1)], text)

    first, *steps = ACTION["runs"]["steps"]
    assert first["name"] == "Install"
    status = 0
    for step in steps:
        own = {name: filled(value) for name, value in step.get("env", {}).items()}
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        where = folder / filled(step.get("working-directory", "."))
        status = subprocess.run(shell, cwd=where, env={**environment, **own}).returncode
        if files["GITHUB_OUTPUT"].exists():
            outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return status, files["GITHUB_STEP_SUMMARY"].read_text()


@pytest.mark.parametrize(("most", "status"), [pytest.param("9 MB", 0, marks=pytest.mark.slow), ("9 KB", 1)])
def test_the_steps_of_the_action_end_with_the_verdict(tmp_path: Path, most: str, status: int) -> None:
    shutil.copytree(reference_bundles()[1], tmp_path / "models/a gru", ignore=EVIDENCE)
    (tmp_path / "models/ci.toml").write_text(
        f'skip = ["lint", "verify", "bench"]\n[limits]\nmodel_size = "{most}"\n[[models]]\nsource = "nowhere"\n'
    )
    given = {"models": "a gru\n\n", "config": "ci.toml", "working-directory": "models"}
    ended, summary = run_action(tmp_path, given)
    assert ended == status
    assert "rnnexport check " + ("failed: 1 of 1 model" if status else "passed: 1 model") in summary
    assert (tmp_path / "models/rnnexport.sarif").is_file()
    assert (tmp_path / "models/rnnexport-junit.xml").is_file()


def test_the_action_gives_no_input_to_a_shell_as_text() -> None:
    """An input that is pasted into a script could run what it likes."""
    steps: list[dict[str, Any]] = ACTION["runs"]["steps"]
    assert not [step["name"] for step in steps if "${{" in step["run"]]


def test_the_hook_checks_every_file_that_it_is_given(run: Run, tmp_path: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    program, *arguments = hook["entry"].split()
    assert program == "rnnexport"
    model = onnx.load(reference_bundles()[1] / "model.onnx")
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    onnx.save(model, tmp_path / "wrong.onnx")
    (tmp_path / "none.onnx").write_bytes(b"")
    files = [str(tmp_path / name) for name in ("none.onnx", "wrong.onnx")]
    assert all(re.search(hook["files"], file) for file in files)
    outcome = run(*arguments, *files)
    assert outcome.status == 2
    assert "none.onnx" in outcome.err
    assert "output-shape" in outcome.out
