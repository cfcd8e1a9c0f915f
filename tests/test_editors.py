"""What editors and shells get: schemas of the TOML files, and names after Tab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnexport.bundle.bundle import reference_bundles
from rnnexport.schemas import read_schema
from tests.command_line import Run
from tests.test_cli import HEAVY
from tools.write_schemas import schemas

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", ["check", "plan", "runtime"])
def test_the_schemas_that_are_shipped_are_those_of_the_models(run: Run, name: str) -> None:
    assert json.loads(read_schema(name)) == schemas()[name], "run: python tools/write_schemas.py"  # type: ignore[arg-type,index]
    assert run("schema", name).out == read_schema(name)  # type: ignore[arg-type]


def test_a_schema_says_what_a_key_means_and_which_there_are() -> None:
    check = json.loads(read_schema("check"))
    assert check["additionalProperties"] is False
    assert check["properties"]["limits"]["$ref"] == "#/$defs/LimitSettings"
    bench = check["$defs"]["BenchSettings"]["properties"]
    assert bench["seconds"]["minimum"] == 0.01
    assert bench["time_steps"]["description"].startswith("Steps per series.")
    runtime = json.loads(read_schema("runtime"))
    assert set(runtime["required"]) == {"engine", "precision"}
    assert "name" not in runtime["properties"]
    plan = json.loads(read_schema("plan"))
    assert {"graph", "tuned", "engine"} <= set(plan["required"])


def test_every_definition_names_its_schema() -> None:
    for path in (ROOT / "runtimes").glob("*.toml"):
        first, _ = path.read_text(encoding="utf-8").split("\n", 1)
        assert (path.parent / first.removeprefix("#:schema ")).resolve() == (
            ROOT / "rnnexport/schemas/runtime.schema.json"
        ), path


COMPLETE = f"""import sys; sys.argv = ['rnnexport']
from rnnexport.cli import main
try: main()
finally: print(sorted(set(sys.modules) & set({HEAVY})), file=sys.stderr)"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("verify --runtime ort-", ["ort-cpu", "ort-cuda"]),
        ("bench --against mi", ["mine"]),
        ("train --task ad", ["adding"]),
        ("verify ex", ["exported/gru"]),
    ],
)
def test_tab_offers_runtimes_tasks_and_bundles_and_loads_nothing_heavy(
    tmp_path: Path, typed: str, offered: list[str]
) -> None:
    (tmp_path / "runtimes").mkdir()
    (tmp_path / "runtimes/mine.toml").touch()
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported/gru").symlink_to(reference_bundles()[1])
    environment = {
        **os.environ,
        "_RNNEXPORT_COMPLETE": "complete_bash",
        "COMP_WORDS": f"rnnexport {typed}",
        "COMP_CWORD": str(len(typed.split())),
    }
    command = [sys.executable, "-c", COMPLETE]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (ended.returncode, ended.stderr.strip()) == (0, "[]")
    assert ended.stdout.split() == offered
