"""Settings of every test."""

from __future__ import annotations

import os

# Two threads that wait for each other make tests of tiny models slow on a busy machine. Set before anything loads
# OpenMP, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.plan import GraphKind, Plan, Tuned, graph_name, write_plan
from rnnexport.bundle.store import sha256_of
from rnnexport.cli import main
from rnnexport.engines.contract import Definition
from rnnexport.versions import machine, tool_versions
from tests import examples  # noqa: F401 - registers the profiles
from tests.bundles import GRU, copy_of
from tests.command_line import Outcome, Run

AddPlan = Callable[..., Plan]
settings.load_profile("quick")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command line."""
    monkeypatch.delenv("COLUMNS", raising=False)  # which some test runners set

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["rnnexport", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture
def gru(tmp_path: Path) -> Path:
    """A copy of the reference GRU, to be written to."""
    return copy_of(GRU, tmp_path / "gru")


@pytest.fixture
def bundle(gru: Path) -> Bundle:
    """The same, read."""
    return load_bundle(gru)


@pytest.fixture(scope="session")
def labels_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model of a label for each step, with a step graph."""
    import torch

    import rnnexport
    from tests.bundles import Labels

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("labels") / "labels"
    return rnnexport.export(Labels(), folder, inputs=["x:float32[batch,time,5]"], streaming=True)


@pytest.fixture(scope="session")
def int8_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference GRU with weights of 8 bits: what it answers shows that it, not the plain graph, ran."""
    from rnnexport.optimizing.optimize import optimize
    from rnnexport.optimizing.options import Rewrite

    out = tmp_path_factory.mktemp("int8") / "int8.onnx"
    optimize(GRU / "model.onnx", out, Rewrite(weights="int8", input_projection="same"))
    return out


@pytest.fixture(scope="session")
def streaming_gru(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The reference GRU with a step graph."""
    import rnnexport

    folder = tmp_path_factory.mktemp("streaming")
    (folder / "checkpoint").mkdir()
    for source, name in [("weights.safetensors", "model.safetensors"), ("model.json",) * 2, ("evaluation.npz",) * 2]:
        shutil.copyfile(GRU / source, folder / "checkpoint" / name)
    return rnnexport.export(folder / "checkpoint", folder / "gru", streaming=True)


@pytest.fixture
def add_plan() -> AddPlan:
    """A function that gives a bundle a plan: a graph, and how it runs."""

    def add(
        bundle: Bundle, graph: Path, kind: GraphKind = "sequence", engine: str = "onnxruntime", **tuned: object
    ) -> Plan:
        name = graph_name(kind)
        shutil.copyfile(graph, bundle.path / name)
        facts = {
            "purpose": "latency" if kind == "sequence" else "streaming",
            "budget": "max-error=1e-1",
            "form": "scan, int8 by matmulnbits",
            "batch_size": 1,
            "time_steps": 25,
            "manifest_sha256": bundle.manifest_sha256,
            "graph_sha256": sha256_of(graph),
            "machine": machine(),
            "versions": tool_versions(),
        }
        definition = Definition(name=Path(name).stem, engine=engine, precision="float32", threads=1)
        plan = Plan(graph=name, definition=definition, tuned=Tuned.model_validate(facts | tuned))
        write_plan(bundle, kind, plan)
        return plan

    return add
