"""`rnnexport tune` as its users meet it: what it finds, what it writes, what it refuses."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import rnnexport
from rnnexport.bundle.bundle import load_bundle
from rnnexport.bundle.plan import read_plan
from rnnexport.engines import get_engine
from rnnexport.errors import BundleError, InputError
from rnnexport.parity.grid import CaseShape
from rnnexport.report.tune import tune_tables
from rnnexport.tuning import rounds
from rnnexport.tuning.graph_variants import graph_variants_for
from rnnexport.tuning.results import TuneReport
from rnnexport.tuning.tune import RESULTS_LOG, tune
from rnnexport.tuning.workload import SequenceWorkload
from tests.bundles import GRU, copy_of

QUICK: dict[str, Any] = {
    "seconds": 0.05,
    "time_limit_seconds": 120,
    "runtimes": [str(Path(__file__).with_name("one-thread.toml"))],
}
FEW = {
    *("as exported", "scan", "scan, int8", "scan, int4 R and W", "fused, weights stored as int8"),
    *("unrolled", "unrolled, int8", "unrolled, int4"),
}
PLUGINS = Path(__file__).parents[1] / "plugins/faulty_engine"


@pytest.fixture(scope="module", autouse=True)
def _few_variants():
    """Every variant is several processes; these show all that a search does."""

    def few(*arguments, **options):
        return [variant for variant in graph_variants_for(*arguments, **options) if variant.name in FEW]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rnnexport.tuning.tune.graph_variants_for", few)
        yield


def answers(bundle, plan):
    """What the plan's graph gives for the bundle's own series, and what the source model gives in float64."""
    workload = SequenceWorkload.make(bundle, [CaseShape(1, 25)], None, 0)
    ((feeds, expected),) = workload.judged
    session = get_engine(plan.definition.engine).load(bundle.path / plan.graph, plan.definition)
    try:
        return session.run(feeds), {name: reference.expected for name, reference in expected.items()}
    finally:
        session.close()


@pytest.fixture(scope="module")
def float32_search(tmp_path_factory):
    """A search in two runtimes, its report, and what it said on the way."""
    folder, said = copy_of(GRU, tmp_path_factory.mktemp("float32") / "gru"), []
    runtimes = {"runtimes": ["ort-cpu", "openvino-cpu"]}
    return folder, tune(folder, static_shapes=True, on_progress=said.append, **QUICK | runtimes), said


def test_a_float32_plan_is_proved_and_told_in_full(float32_search):
    gru, report, _ = float32_search
    bundle = load_bundle(gru)
    plan = read_plan(bundle, "sequence")
    assert plan is not None
    assert report.chosen is not None
    assert report.plan == "plan.toml"
    assert plan.tuned.form == report.chosen.form
    assert plan.definition.model_dump(exclude={"name"}) == report.chosen.definition.model_dump(exclude={"name"})
    assert not any(candidate.lossy for candidate in report.candidates)
    actual, expected = answers(bundle, plan)
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, atol=1e-5)
    kept = json.loads((gru / "tune.json").read_text())
    assert kept["manifest_sha256"] == bundle.manifest_sha256
    assert len(kept["candidates"]) == len(report.candidates)
    assert not (gru / RESULTS_LOG).exists()


def test_static_shapes_are_tried_where_they_are_asked_for(float32_search):
    static = [c for c in float32_search[1].candidates if c.definition.options.get("static_shapes")]
    assert [candidate.form for candidate in static] == ["as exported"]
    assert static[0].times_plain is not None


def test_the_baseline_is_timed_in_every_runtime_before_anything_else(float32_search):
    judged = [message for message in float32_search[2] if message.startswith("the errors of")]
    assert judged[:2] == ["the errors of as exported in ort-cpu", "the errors of as exported in openvino-cpu"]


@pytest.mark.slow
def test_every_variant_is_tried_and_static_shapes_only_where_they_are_asked_for(gru, monkeypatch):
    monkeypatch.setattr("rnnexport.tuning.tune.graph_variants_for", graph_variants_for)
    report = tune(gru, budget="max-error=1", **QUICK | {"runtimes": ["ort-cpu", "openvino-cpu"]})
    every = {variant.name for variant in graph_variants_for("sequence", lossy=True, small=False)}
    assert every <= {candidate.form for candidate in report.candidates}
    assert not any(candidate.definition.options for candidate in report.candidates)


@pytest.mark.slow
def test_an_error_budget_is_held_by_what_is_chosen_and_passed_by_what_is_dropped(gru):
    limit = 0.05
    report = tune(gru, budget=f"max-error={limit}", purpose="size", **QUICK)
    best = report.chosen
    assert best is not None
    over = [c for c in report.candidates if c.reason.startswith("over the budget")]
    assert over
    assert all(c.error > limit for c in over)
    held = [c for c in report.candidates if c.outcome != "dropped"]
    assert all(c.error <= limit for c in held)
    assert best.bytes <= 1.02 * min(c.bytes for c in held)
    assert best.lossy
    bundle = load_bundle(gru)
    actual, expected = answers(bundle, read_plan(bundle, "sequence"))
    worst = max(float(np.abs(actual[name] - values).max()) for name, values in expected.items())
    assert worst == pytest.approx(best.error, rel=1e-3)
    assert 1e-5 < worst <= limit


@pytest.mark.slow
def test_a_metric_budget_is_told_by_series_that_did_not_calibrate(gru):
    report = tune(gru, budget="metric-drop=0.01", **QUICK)
    assert report.chosen is not None
    assert report.metric == "accuracy"
    assert report.reference_metric - report.chosen.metric <= 0.01
    assert rnnexport.load(gru).plan == read_plan(load_bundle(gru), "sequence")
    workload = SequenceWorkload.make(load_bundle(gru), [CaseShape(1, 25)], None, 0)
    (calibrating,) = workload.calibration
    ((judging, _),) = workload.judged
    assert not {row.tobytes() for row in calibrating["x"]} & {row.tobytes() for row in judging["x"]}


def test_a_budget_that_nothing_holds_leaves_the_old_plan_and_names_the_nearest(bundle, add_plan, int8_graph, run):
    add_plan(bundle, int8_graph)
    gru = bundle.path
    before = (gru / "plan.toml").read_bytes()
    done = run("tune", gru, "--budget", "max-error=1e-12", "--runtime", *QUICK["runtimes"], "--seconds", "0.05")
    assert done.status == 1
    assert "nothing holds max-error=1e-12, so no plan was written; the nearest: as exported in one-thread" in done.out
    assert (gru / "plan.toml").read_bytes() == before


@pytest.mark.slow
def test_a_runtime_that_dies_is_dropped_and_the_search_goes_on(gru, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runtimes").mkdir()
    (tmp_path / "runtimes/dies.toml").write_text('engine = "faulty"\nprecision = "float32"\nthreads = 1\n')
    report = tune(gru, **QUICK | {"runtimes": ["dies", *QUICK["runtimes"]]})
    (dead,) = [c for c in report.candidates if c.definition.name == "dies"]
    assert (dead.outcome, dead.reason) == ("dropped", "on case 0 the worker ended by SIGSEGV")
    assert report.chosen is not None
    assert report.chosen.definition.engine == "onnxruntime"


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(6, 32, 2, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "stack"
    rnnexport.export(Stack(), inputs=["x:float32[batch,time,6]"], out=folder, streaming=True)
    return folder


@pytest.mark.slow
def test_a_plan_for_streaming_runs_the_step_graph(streaming):
    report = tune(streaming, purpose="streaming", budget="max-error=0.1", **QUICK)
    plan = read_plan(load_bundle(streaming), "step")
    assert plan is not None
    assert report.plan == "plan-step.toml"
    assert plan.graph in ("step.onnx", "plan-step.onnx")
    assert {c.form for c in report.candidates} >= {"as exported", "unrolled", "unrolled, int8", "unrolled, int4"}
    assert all(c.error is not None and c.error < 0.1 for c in report.candidates if c.outcome != "dropped")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    path = tmp_path_factory.mktemp("inputs") / "inputs.npz"
    np.savez(path, x=np.random.default_rng(0).standard_normal((4, 9, 6), np.float32))
    return path


@pytest.fixture(scope="module")
def rounded(streaming, inputs):
    """A search in which all may err, its candidate of int4 alone, and one in which that errs somewhat too much."""
    free = tune(streaming, budget="max-error=1", inputs=inputs, **QUICK)
    int4 = next(c for c in free.candidates if c.form == "scan, int4 R and W")
    return free, int4, tune(streaming, budget=f"max-error={int4.error * 0.95}", inputs=inputs, **QUICK)


@pytest.mark.slow
def test_a_layer_that_does_not_stand_rounding_stays_float32(rounded):
    _, int4, report = rounded
    spared = [c for c in report.candidates if c.form.startswith("scan, int4 R and W, rnn")]
    assert len(spared) == 2
    assert min(c.error for c in spared) < int4.error
    held = [c for c in spared if c.outcome != "dropped"]
    assert held
    assert all(c.bytes > int4.bytes for c in held)


@pytest.mark.slow
def test_a_gate_that_does_not_stand_rounding_stays_float32(rounded):
    _, int4, report = rounded
    (spared,) = (c for c in report.candidates if c.form == "scan, int4 R and W, candidate gate float32")
    assert spared.error < int4.error
    assert spared.bytes > int4.bytes


@pytest.mark.slow
def test_real_inputs_judge_where_the_bundle_has_none(rounded, inputs):
    assert rounded[0].judged_on == str(inputs)
    assert rounded[0].chosen is not None


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 9, 5), np.float32), "'x' is float32 [4, 9, 5], the model takes"),
        (np.full((4, 9, 6), np.nan, np.float32), "'x' holds values that are not finite"),
    ],
    ids=["shape", "nan"],
)
def test_inputs_that_do_not_fit_are_refused(streaming, tmp_path, x, message):
    np.savez(tmp_path / "wrong.npz", x=x)
    with pytest.raises(InputError, match=r"wrong\.npz") as told:
        tune(streaming, budget="max-error=0.1", inputs=tmp_path / "wrong.npz", **QUICK)
    assert message in str(told.value)


def interrupted_search(gru, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rounds.Rounds, "last_round", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tune(gru, **QUICK)


@pytest.mark.slow
def test_an_interrupted_search_goes_on_with_what_it_found(gru, monkeypatch):
    interrupted_search(gru, monkeypatch)
    assert (gru / RESULTS_LOG).exists()
    said = []
    report = tune(gru, resume=True, on_progress=said.append, **QUICK)
    assert report.chosen is not None
    assert any(message.startswith("the last round") for message in said)
    assert not [message for message in said if "the errors of" in message or "to go" in message]
    assert not (gru / RESULTS_LOG).exists()


@pytest.mark.slow
def test_what_there_was_no_time_for_is_not_called_beaten(gru, run):
    done = run("tune", gru, "--runtime", *QUICK["runtimes"], "--seconds", "0.05", "--time-limit", "1", "--json")
    assert done.status == 0, done.err
    report = TuneReport.model_validate_json(done.out)
    assert report.chosen.reason == "nothing that was measured beats the baseline"
    unmeasured = report.unmeasured
    assert {c.form for c in unmeasured} == {c.form for c in report.candidates} - {"as exported"}
    assert all(c.times_plain is None and c.reason.startswith("no time was left") for c in unmeasured)
    shown = str(tune_tables(report)[-1])
    assert f"enough for {len(report.candidates) - len(unmeasured)} of {len(report.candidates)} candidates" in shown
    assert "go on with --resume" in shown
    with pytest.raises(InputError, match="was begun with another budget"):
        tune(gru, budget="max-error=1", resume=True, **QUICK)
    gone_on = tune(gru, resume=True, **QUICK)
    assert not gone_on.unmeasured
    assert not (gru / RESULTS_LOG).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "int8"], "--budget 'int8': choose float32, max-error=1e-3 or metric-drop=0.002, or the like"),
        (["--budget", "max-error=nan"], "--budget 'max-error=nan': choose"),
        (["--for", "streaming"], "has no step graph; export it with --streaming"),
        (["--for", "streaming", "--budget", "metric-drop=0.1"], "a metric is told by whole series"),
        (["--runtime", "torch-cpu"], "a plan needs a runtime that reads ONNX files"),
        (["--batch-size", "0"], "--batch-size '0' is no whole number above 0"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(gru, arguments, message, run):
    done = run("tune", gru, *arguments)
    assert done.status == 2
    assert message in done.err.splitlines()[-1]
    assert not (gru / "plan.toml").exists()


def test_a_model_without_recurrent_layers_keeps_its_plain_export(tmp_path):
    class Linear(nn.Linear):
        def __init__(self):
            super().__init__(6, 3)

    rnnexport.export(Linear(), inputs=["x:float32[batch,time,6]"], out=tmp_path / "linear")
    report = tune(tmp_path / "linear", budget="max-error=1", **QUICK)
    dropped = [c for c in report.candidates if c.form != "as exported"]
    assert dropped
    assert all("there is no LSTM or GRU node" in c.reason for c in dropped)
    assert report.chosen is not None
    assert report.chosen.form == "as exported"


def test_a_bundle_that_cannot_be_written_to_is_refused_before_anything_is_measured(gru):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    gru.chmod(0o500)
    with pytest.raises(BundleError, match="cannot be written to"):
        tune(gru, **QUICK)
