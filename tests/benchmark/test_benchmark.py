"""Rows of a benchmark: what they hold, what becomes of them when something fails, and how they are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import rnnexport
from rnnexport.benchmark.comparison import compare_runs, compare_within, read_report
from rnnexport.benchmark.interleaving import Repetition
from rnnexport.benchmark.results import BenchReport, Measurement
from rnnexport.benchmark.timing import repeat, time_windows
from rnnexport.errors import InputError
from tests.graphs import Graph

QUICK: dict[str, Any] = {"seconds": 0.02, "repetitions": 1}


def rows(report: BenchReport) -> dict[str, Measurement]:
    return {row.definition.name: row for row in report.measurements}


def test_a_row_keeps_the_samples_of_every_repetition_and_window(gru: Path) -> None:
    report = rnnexport.bench([gru], ["ort-cpu"], seconds=0.02, repetitions=3)
    (row,) = read_report(gru / "bench.json").measurements
    assert row == report.measurements[0]
    assert len(row.repetitions) == 3
    assert all(len(r.windows_ns) == len(r.pulses_ns) >= 5 for r in row.repetitions)
    assert row.median_interval_ns is not None
    assert row.median_interval_ns[0] <= (row.median_ns or 0) <= row.median_interval_ns[1]


@pytest.mark.slow
@pytest.mark.usefixtures("faulty")
def test_what_fails_in_one_runtime_leaves_the_other_rows(gru: Path) -> None:
    names = ["ort-cpu", "dies", "drifts", "hangs"]
    found = rows(rnnexport.bench([gru], names, time_limit_seconds=8, **QUICK))
    assert found["ort-cpu"].median_ns
    assert "SIGSEGV" in (found["dies"].failure or "")
    assert "wrong answer: output 'logits' differs" in (found["drifts"].failure or "")
    assert "passed the time limit of 8 s" in (found["hangs"].failure or "")
    assert not any(found[name].repetitions for name in names[1:])
    assert set(rows(read_report(gru / "bench.json"))) == set(names)


@pytest.mark.slow
@pytest.mark.usefixtures("faulty")
def test_a_process_that_takes_too_much_memory_is_ended(gru: Path) -> None:
    limit = 512 << 20
    found = rows(rnnexport.bench([gru], ["ort-cpu", "eats-memory"], memory_limit_bytes=limit, **QUICK))
    assert found["ort-cpu"].median_ns
    assert "over the memory limit of 512 MiB" in (found["eats-memory"].failure or "")


def test_an_interrupt_keeps_the_rows_measured_so_far(gru: Path) -> None:
    def interrupt_second(message: str) -> None:
        if "2 of 2" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rnnexport.bench([gru], ["ort-cpu"], batch_sizes=[1, 2], on_progress=interrupt_second, **QUICK)
    assert [row.batch_size for row in read_report(gru / "bench.json").measurements] == [1]


def test_a_size_that_the_model_does_not_take_is_refused(tmp_path: Path) -> None:
    g = Graph()
    g.op("GRU", "x", *g.weights("GRU", 4, 8), outputs=["y"], hidden_size=8)
    onnx.save(g.model({"x": ["time", 2, 4]}, {"y": ["time", 1, 2, 8]}), tmp_path / "fixed.onnx")
    bundle = rnnexport.export(tmp_path / "fixed.onnx", tmp_path / "fixed")
    with pytest.raises(InputError, match="fixes `batch_size=2`, so it cannot be 16"):
        rnnexport.bench([bundle.path], ["ort-cpu"], batch_sizes=[2, 16], time_steps=[5], **QUICK)


def test_short_calls_share_a_reading_of_the_clock() -> None:
    def short() -> dict[str, np.ndarray]:
        return {}

    windows = time_windows(lambda _: short, lambda _: None, iter([{}] * 2), 0.002, {})
    extras = [extra for _, extra in windows]
    assert len(extras) == 2
    assert all(extra["calls_per_sample"] > 10 for extra in extras)


def test_repeat_means_over_the_calls_of_a_sample() -> None:
    calls = []
    samples = repeat(lambda: calls.append(1), 0, 7, calls_per_sample=5)
    assert (len(samples), len(calls)) == (7, 35)


# Comparing, on reports whose truth is known


def row(bundle: str, runtime: str, median: int, **content: Any) -> Measurement:
    definition = {"name": runtime, "engine": "onnxruntime", "precision": "float32"}
    generator = np.random.default_rng(median)
    windows = [[int(median * level)] for level in generator.normal(1, 0.005, 12)]
    repetition = Repetition(windows_ns=windows, pulses_ns=[65_000.0] * 12)
    content = {"repetitions": [repetition, repetition], **content}
    return Measurement(bundle=bundle, definition=definition, batch_size=1, time_steps=25, **content)


def report(*measurements: Measurement, machine: str = "a", **content: Any) -> BenchReport:
    return BenchReport(
        seconds=1,
        measurements=list(measurements),
        not_usable=[],
        conditions={"machine": machine, "cores": 2, "load_average": 0.0},
        versions={},
        **content,
    )


def test_runs_are_compared_row_by_row() -> None:
    before = report(row("a/gru", "ort", 1000), row("a/lstm", "ort", 1000), row("a/lstm", "ov", 1000))
    after = report(row("b/gru", "ort", 1200), row("b/lstm", "ort", 800), row("b/lstm", "ov", 1001))
    compared = compare_runs(before, after)
    assert [(c.before, c.verdict.outcome) for c in compared] == [
        ("gru in ort", "slower"),
        ("lstm in ort", "faster"),
        ("lstm in ov", "equivalent"),
    ]
    assert compared[0].verdict.ratio == pytest.approx(1.2, rel=0.02)


def test_two_runs_of_one_bundle_each_are_two_versions_of_it() -> None:
    (compared,) = compare_runs(report(row("old", "ort", 1000)), report(row("new", "ort", 1200)))
    assert (compared.before, compared.verdict.outcome) == ("old in ort", "slower")


@pytest.mark.parametrize(
    ("before", "machine", "reason"),
    [
        (row("gru", "ov", 1000), "a", "there is no such row"),
        (row("gru", "ort", 1000, failure="it broke", repetitions=[]), "a", "no figures before: it broke"),
        (row("gru", "ort", 1000), "b", "another machine: b with 2 cores, then a with 2"),
    ],
)
def test_what_cannot_be_compared_says_why(before: Measurement, machine: str, reason: str) -> None:
    (compared,) = compare_runs(report(before, machine=machine), report(row("gru", "ort", 1200)))
    assert compared.verdict.outcome == "cannot tell"
    assert reason in (compared.verdict.reason or "")


@pytest.mark.parametrize(("baseline", "others"), [("ort", ["new in ov"]), ("new", [])])
def test_a_runtime_or_a_bundle_is_a_baseline(baseline: str, others: list[str]) -> None:
    measured = report(row("new", "ort", 1000), row("new", "ov", 1200))
    compared = compare_within(measured, baseline)
    assert [c.after for c in compared] == others
    assert all(c.verdict.outcome == "slower" for c in compared)


def test_bundles_are_compared_in_the_same_runtime() -> None:
    measured = report(
        *(row(b, r, n) for b, r, n in (("x", "ort", 900), ("x", "ov", 500), ("y", "ort", 900), ("y", "ov", 900)))
    )
    compared = compare_within(measured, "x")
    assert [(c.before, c.after, c.verdict.outcome) for c in compared] == [
        ("x in ort", "y in ort", "equivalent"),
        ("x in ov", "y in ov", "slower"),
    ]


@pytest.mark.parametrize(("fail_over", "status"), [(None, 0), (0.05, 1), (0.15, 1), (0.30, 0)])
def test_a_regression_beyond_what_is_allowed_is_status_1(fail_over: float | None, status: int) -> None:
    compared = compare_runs(report(row("gru", "ort", 1000)), report(row("gru", "ort", 1200)))
    assert report(row("gru", "ort", 1200), comparisons=compared, fail_over=fail_over).exit_status == status


def test_a_busy_machine_and_a_clock_that_was_set_are_said() -> None:
    conditions = {"machine": "a", "cores": 2, "load_average": 1.5, "clock_jump_seconds": -3600.0}
    notes = report().model_copy(update={}).conditions.model_validate(conditions).notes
    assert "load average 1.50 on 2 cores" in notes[0]
    assert "moved by -3600.0 s" in notes[1]
    assert report().conditions.notes == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is no JSON file"),
        ("[]", "is no result of rnnexport bench"),
        (json.dumps({"schema_version": 1, "measurements": []}), "is schema 1, this version of rnnexport reads 2"),
        (json.dumps({"schema_version": 2, "measurements": []}), "is damaged at 'seconds'"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "before.json").write_text(content)
    with pytest.raises(InputError, match=r"before\.json") as refused:
        read_report(tmp_path / "before.json")
    assert message in str(refused.value)


@pytest.mark.parametrize("damage", [{"pulses_ns": [1.0]}, {"windows_ns": []}, {"windows_ns": [[]] * 12}])
def test_a_result_whose_windows_are_not_whole_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    document = json.loads(report(row("a", "x", 1000)).model_dump_json())
    document["measurements"][0]["repetitions"][0] |= damage
    (tmp_path / "before.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"before\.json is damaged at 'measurements\.0\.repetitions\.0"):
        read_report(tmp_path / "before.json")
