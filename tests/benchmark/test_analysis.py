"""`rnnexport bench --roofline` and `--profile`, through the command line and the library."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from rnnexport.benchmark import limits
from rnnexport.benchmark.machine import Machine, MemoryLevel, Rate
from rnnexport.benchmark.probe import probe_machine
from rnnexport.benchmark.profiling import map_to_layers, profile_of, with_names
from rnnexport.bundle.bundle import reference_bundles
from rnnexport.cli import main
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, NodeTime, ProfilingEngine
from rnnexport.runtime.definitions import load_definition
from tests.graphs import Graph

LSTM, GRU = (str(path) for path in reference_bundles())
RUNTIMES = ["ort-cpu", "openvino-cpu", "torch-cpu"]


@dataclass
class FakeRow:
    """What a benchmark measured, without the benchmark."""

    bundle: str
    definition: Definition
    batch_size: int = 2
    time_steps: int = 5
    samples_ns: tuple[int, ...] = (1000, 2000, 3000)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return probe_machine()


def test_the_probe_finds_what_must_hold_on_every_machine(machine: Machine) -> None:
    rates = [*machine.flop_per_second.values(), *(level.bytes_per_second for level in machine.levels)]
    assert all(0 < rate.one <= rate.all for rate in rates)
    assert machine.cores >= 1
    assert machine.fork_join_ns >= 0
    for threads in range(1, machine.cores):
        assert machine.peak("float32", threads) <= machine.peak("float32", threads + 1)
        assert machine.peak("float32", threads) <= machine.peak("int8", threads)
    spared = [level.spared(machine.cores) for level in machine.levels]
    assert spared == sorted(set(spared))
    assert [level.name for level in machine.levels][-1:] in ([], ["memory"])


@pytest.mark.slow
def test_the_example_of_the_document_runs() -> None:
    document = Path(__file__).parents[2] / "docs/explanation/roofline.md"
    (code,) = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert re.fullmatch(r"at least [\d.]+ µs, held by (arithmetic|L2|L3|memory)\n", ended.stdout)


def test_the_best_of_two_probes_is_no_slower_than_either(machine: Machine) -> None:
    slow = slower(machine, 10)
    assert slow.best(machine) == machine.best(slow) == machine


def slower(machine: Machine, factor: float) -> Machine:
    def slow(rate: Rate) -> Rate:
        return Rate(one=rate.one / factor, all=rate.all / factor)

    def slow_level(level: MemoryLevel) -> MemoryLevel:
        return level.model_copy(update={"bytes_per_second": slow(level.bytes_per_second)})

    return Machine(
        cores=machine.cores,
        flop_per_second={kind: slow(rate) for kind, rate in machine.flop_per_second.items()},
        levels=tuple(map(slow_level, machine.levels)),
        fork_join_ns=machine.fork_join_ns * factor,
    )


def bench(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["rnnexport", "bench", LSTM, "--seconds", "0.05", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_a_row_that_beats_its_bound_fails_the_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "probe_machine", lambda: slower(machine, 1e4))
    assert bench(monkeypatch, "-r", "ort-cpu", "--roofline") == 1
    assert "the probe was too slow" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_slow_probe_is_repeated_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = iter([slower(machine, 1e4), slower(machine, 1e-2)])
    monkeypatch.setattr(limits, "probe_machine", lambda: next(probes))
    assert bench(monkeypatch, "-r", "ort-cpu", "--roofline", "--json") == 0
    analysis = json.loads(capsys.readouterr().out)["analysis"]
    (row,) = analysis["roofline"]["rows"]
    assert row["limit"] in ("arithmetic", "L2", "L3", "memory", "synchronisation")
    assert 0 < row["share"] < 1
    assert row["beats_its_bound"] is False
    assert row["int8_bound_ns"] <= row["bound_ns"]


def test_a_row_on_another_device_has_no_bound(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "probe_machine", lambda: machine)
    (row,) = limits.roofline_of([FakeRow(LSTM, load_definition("ort-cuda"))]).rows
    assert row.not_bounded
    assert row.share is None
    assert not row.beats_its_bound


@pytest.mark.parametrize(("call_ns", "held"), [(10**9, True), (10**5, False)])
def test_only_a_call_that_lasts_longer_is_held_by_synchronisation(
    machine: Machine, call_ns: int, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = slower(machine, 1e-2).model_copy(update={"cores": 2, "fork_join_ns": 1e6})
    monkeypatch.setattr(limits, "probe_machine", lambda: planted)
    (row,) = limits.roofline_of([FakeRow(LSTM, load_definition("ort-cpu"), samples_ns=(call_ns,) * 10)]).rows
    assert row.synchronisation_ns == 5e6
    assert (row.limit == "synchronisation") == held


@pytest.mark.parametrize("bundle", [pytest.param(LSTM, marks=pytest.mark.slow), GRU], ids=["lstm", "gru"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_profile_names_every_recurrent_layer(bundle: str, runtime: str) -> None:
    profile = profile_of(FakeRow(bundle, load_definition(runtime)))
    assert profile.failure is None
    layers = [layer for node in profile.nodes for layer in node.layers]
    assert set(layers) == {"rnn.layer0.padded_Y"}
    assert profile.nanoseconds > 0
    (first, *_) = [node for node in profile.nodes if node.layers]
    assert first.operator == ("LSTM" if bundle == LSTM else "GRU")


def test_the_command_prints_a_row_per_layer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(monkeypatch, "-r", "ort-cpu", "--profile") == 0
    assert "rnn.layer0.padded_Y" in capsys.readouterr().out


def test_what_a_runtime_refuses_is_why_there_is_no_profile() -> None:
    definition = load_definition("ort-cpu").model_copy(update={"options": {"no_such_option": 1}})
    profile = profile_of(FakeRow(LSTM, definition))
    assert profile.failure
    assert not profile.nodes


def test_an_engine_without_a_profiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = str(Path(__file__).parents[1] / "plugins" / "fake_engines")
    monkeypatch.syspath_prepend(plugins)
    monkeypatch.setenv("PYTHONPATH", plugins)
    definition = Definition(name="theirs", engine="misbehaving", precision="float32")
    assert profile_of(FakeRow(LSTM, definition)).failure == "engine 'misbehaving' has no profiler"


RECURRENT_FORMS = [
    (cell, direction, name, outputs)
    for cell, direction in (("LSTM", "forward"), ("GRU", "bidirectional"))
    for name in ("the layer", "")
    for outputs in (["y"], ["", "y_h"])
]


@pytest.mark.parametrize(("cell", "direction", "name", "outputs"), RECURRENT_FORMS)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_layers_are_found_whatever_the_library_makes_of_them(
    engine: str, cell: str, direction: str, name: str, outputs: list[str], tmp_path: Path
) -> None:
    """OpenVINO splits bidirectional layers and gives them names of its own; names in the file are optional."""
    path = write_layers(tmp_path / "model.onnx", cell, direction, name, outputs)
    named = with_names(ir.load(path), path, tmp_path / "named")
    definition = Definition(name="x", engine=engine, precision="float32")
    feeds = {"x": np.zeros((3, 2, 4), np.float32)}
    adapter = get_engine(engine)
    assert isinstance(adapter, ProfilingEngine)
    nodes = map_to_layers(adapter.profile(named, definition, feeds, calls=3), ir.load(path))
    found = {layer for node in nodes for layer in node.layers}
    assert found == {name or next(filter(None, outputs)), "second"}


def write_layers(path: Path, cell: str, direction: str, name: str, outputs: list[str]) -> Path:
    """Two recurrent layers that read the same input, so that their order tells nothing."""
    g, hidden, directions = Graph(), 64, 2 if direction == "bidirectional" else 1
    options = {"hidden_size": hidden, "direction": direction, **({"linear_before_reset": 1} if cell == "GRU" else {})}
    w, r = g.weights(cell, 4, hidden, directions=directions)
    _, r2 = g.weights(cell, 4, hidden, ["unused", "R2"], directions=directions, seed=1)
    g.op(cell, "x", w, r, outputs=outputs, name=name, **options)
    g.op(cell, "x", w, r2, outputs=["other"], name="second", **options)
    onnx.save(g.model({"x": ["time", "batch", 4]}, dict.fromkeys([*filter(None, outputs), "other"])), path)
    return path


def test_a_module_of_several_layers_is_mapped_to_all_of_them() -> None:
    model = ir.load(Path(LSTM) / "model.onnx")
    node = next(node for node in model.graph if node.op_type == "LSTM")
    node.name = "rnn.layer0"
    times = [NodeTime(("rnn",), "LSTM", 5.0), NodeTime(("rnn",), "Linear", 7.0)]
    head, layers = map_to_layers(times, model)
    assert (head.operator, head.layers) == ("Linear", ())
    assert layers.layers == ("rnn.layer0",)
