"""Scenarios: what each reports, what it refuses, and that a wrong answer has no figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rnnexport.benchmark.mix import Mix, MixRow, read_lengths
from rnnexport.benchmark.scenarios import Scenario, ScenarioRow, run_scenario
from rnnexport.benchmark.server import Server, ServerRow
from rnnexport.benchmark.streaming import Streaming, StreamingRow
from rnnexport.benchmark.throughput import throughput
from rnnexport.bundle.bundle import Bundle
from rnnexport.errors import InputError


@pytest.fixture
def streaming(labels_bundle: Bundle) -> Path:
    """A bundle with a step graph."""
    return labels_bundle.path


def row(scenario: Scenario, bundle: Path, runtime: str = "ort-cpu") -> ScenarioRow:
    (found,) = run_scenario(scenario, [bundle], [runtime]).rows
    return found


@pytest.mark.slow
def test_mix_tells_new_lengths_from_those_met_before(gru: Path) -> None:
    found = row(Mix(seconds=0.02, repetitions=2), gru)
    assert isinstance(found, MixRow), found.failure
    assert (found.lengths[0], found.lengths[2]) == (9, 24)
    assert found.calls >= 2 * 128
    assert found.p50_new_length_ns
    assert found.p50_met_length_ns
    kept = json.loads((gru / "bench-mix.json").read_text())
    assert kept["rows"][0]["calls"] == found.calls
    assert kept["settings"]["repetitions"] == 2


@pytest.mark.slow
def test_mix_draws_from_a_file_and_pads_batches(gru: Path, tmp_path: Path) -> None:
    (tmp_path / "lengths.txt").write_text("3, 8\n31")
    lengths = read_lengths(tmp_path / "lengths.txt")
    found = row(Mix(lengths=lengths, batch_size=3, seconds=0.02, repetitions=1), gru, "torch-cpu")
    assert isinstance(found, MixRow), found.failure
    assert found.lengths == (3, 14, 31)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("", "is empty"), ("3 x", "x is no number of time steps"), ("0", "0 is no number")],
)
def test_a_file_of_lengths_that_is_none_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "lengths.txt").write_text(content)
    with pytest.raises(InputError, match=message):
        read_lengths(tmp_path / "lengths.txt")


def test_mix_without_lengths_says_what_to_give(streaming: Path) -> None:
    with pytest.raises(InputError, match="to take lengths from; name some"):
        row(Mix(), streaming)


@pytest.mark.parametrize("time_steps", [1, 7])
def test_streaming_carries_the_states(streaming: Path, time_steps: int) -> None:
    found = row(Streaming(time_steps=time_steps, seconds=0.02), streaming)
    assert isinstance(found, StreamingRow), found.failure
    assert found.p50_ns
    assert found.steps_per_second == pytest.approx(time_steps * 1e9 / found.p50_ns)
    assert found.streams is None


def test_streaming_against_a_clock_counts_misses_and_streams(streaming: Path) -> None:
    slow = row(Streaming(rate=1e9, seconds=0.02), streaming)
    assert isinstance(slow, StreamingRow)
    assert (slow.deadline_misses, slow.streams) == (1, 0)
    assert (slow.real_time_factor or 0) > 1


def test_streaming_needs_a_step_graph(gru: Path) -> None:
    with pytest.raises(InputError, match="has no step graph; export it again with `streaming`"):
        row(Streaming(), gru)


@pytest.mark.parametrize("runtime", ["ort-cpu", pytest.param("torch-cpu", marks=pytest.mark.slow)])
def test_a_server_joins_requests_that_wait(gru: Path, runtime: str) -> None:
    found = row(Server(rate=50_000, max_batch_size=8, max_wait_ms=1, seconds=0.01), gru, runtime)
    assert isinstance(found, ServerRow), found.failure
    assert found.best is not None
    assert found.best.answered == 662
    assert 1 < found.best.mean_batch_size <= 8
    assert (found.best.p99_ns or 0) >= (found.best.p50_ns or 0) > 0


@pytest.mark.slow
def test_a_server_without_batching_answers_one_by_one_and_searches_a_rate(gru: Path) -> None:
    found = row(Server(p99_limit_ms=1000, seconds=0.01), gru)
    assert isinstance(found, ServerRow), found.failure
    assert len(found.trials) > 2
    assert all(trial.mean_batch_size == 1 for trial in found.trials)
    assert found.best is not None
    assert found.best.rate == max(t.rate for t in found.trials if t.p99_ns and t.p99_ns <= 1e9 and not t.ended_early)


@pytest.mark.slow
def test_no_rate_holds_a_limit_below_the_call_itself(gru: Path) -> None:
    found = row(Server(p99_limit_ms=0.001, seconds=0.01), gru)
    assert isinstance(found, ServerRow)
    assert found.best is None
    assert all(trial.ended_early for trial in found.trials)


@pytest.mark.parametrize("settings", [{}, {"rate": 5.0, "p99_limit_ms": 5.0}])
def test_a_server_takes_a_rate_or_a_limit(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="either `rate` or `p99_limit_ms`"):
        Server(**settings)


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(
    "scenario", [Mix(seconds=0.02, repetitions=1), pytest.param(Server(rate=5000, seconds=0.1), marks=pytest.mark.slow)]
)
def test_a_wrong_answer_has_no_figures(gru: Path, scenario: Scenario) -> None:
    report = run_scenario(scenario, [gru], ["drifts"])
    assert "wrong answer: output 'logits' differs" in (report.rows[0].failure or "")
    assert report.exit_status == 1


def test_throughput_doubles_the_batch_and_names_the_best(gru: Path) -> None:
    report = throughput([gru], ["ort-cpu"], seconds=0.02, repetitions=1, largest_batch=2)
    assert [row.batch_size for row in report.measurements][:2] == [1, 2]
    (best,) = report.best
    assert best.series_per_second == max(row.series_per_second or 0 for row in report.measurements)
    assert (gru / "bench-throughput.json").exists()
