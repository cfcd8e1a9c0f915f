"""The study: what is matched, judged and kept."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from rnnexport.data.tasks import get_task
from rnnexport.errors import InputError, UnknownNameError
from rnnexport.models.classifier import CELLS, ModelConfig, SequenceClassifier
from rnnexport.report.study import length_rows, memory_rows, quality_rows
from rnnexport.report.study_page import write_study
from rnnexport.study.claims import interval, judge, permutation_p
from rnnexport.study.order import hopeless, seconds_left, startable
from rnnexport.study.results import RunResult
from rnnexport.study.runs import RESULT
from rnnexport.study.study import TASKS, compare, study_epochs
from rnnexport.study.task_notes import task_facts
from rnnexport.study.trainings import TrainingRun, layer_parameters, matched_hidden_size


def run(task: str, cell: str, seed: int, *, test: float, seconds: float = 1.0, baseline: float = 0.1) -> RunResult:
    of = TrainingRun(task=task, cell=cell, hidden_size=8, epochs=2, seed=seed, settings="", version="0")
    metric = get_task(task).metric
    return RunResult(
        run=of,
        folder="",
        metric=metric,
        test=test,
        baseline=baseline,
        updates=10,
        cpu_seconds_per_epoch=seconds,
        updates_to_target=1 + int(1000 * test),
        parameters=300 if cell == "gru" else 400,
    )


def runs(task: str, lstm: float, gru: float, **baseline: float) -> list[RunResult]:
    """Five seeds of each, apart by less than the cells are."""
    return [
        run(task, cell, seed, test=value + seed / 1000, **baseline)
        for cell, value in (("lstm", lstm), ("gru", gru))
        for seed in range(5)
    ]


def test_where_training_stops_at_the_target_the_metric_is_not_compared() -> None:
    assert verdicts(runs("adding-50", 0.1, 0.01))[2] == "undecided"


def verdicts(results: list[RunResult]) -> list[str]:
    return [claim.verdict for claim in judge(results)]


def test_verdicts_follow_the_evidence_and_its_direction() -> None:
    # compute, speed, better somewhere, long memory, useful
    assert verdicts(runs("vowels", 0.8, 0.9)) == ["supported", "undecided", "supported", "undecided", "undecided"]
    assert verdicts(runs("vowels", 0.9, 0.8))[2] == "refuted"
    assert verdicts(runs("sunspots", 20, 10))[2] == "supported", "a smaller error is better"
    assert verdicts(runs("adding-50", 0.01, 0.1))[3] == "supported"
    assert verdicts(runs("adding-50", 0.1, 0.01))[3] == "refuted"
    assert verdicts(runs("vowels", 0.9, 0.9))[2] == "undecided"
    useful = runs("vowels", 0.9, 0.9) + runs("names", 0.5, 0.5) + runs("sunspots", 10, 10, baseline=20)
    assert verdicts(useful)[4] == "supported"
    assert verdicts([*useful, *runs("adding-50", 1, 1)])[4] == "supported"
    assert verdicts(runs("vowels", 0.9, 0.05) + useful[10:])[4] == "undecided"


def test_p_values_are_exact_and_adjusted() -> None:
    assert permutation_p([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / math.comb(6, 3))
    assert permutation_p([1.0], [2.0]) == 1
    one = judge(runs("vowels", 0.8, 0.9))[2].comparisons[0]
    beside_nothing = judge(runs("vowels", 0.8, 0.9) + runs("names", 0.9, 0.9))[2].comparisons[0]
    beside_another = judge(runs("vowels", 0.8, 0.9) + runs("names", 0.8, 0.9))[2].comparisons[0]
    assert one.p_value == pytest.approx(2 / math.comb(10, 5))
    assert (beside_nothing.p_value, beside_another.p_value) == pytest.approx((2 * one.p_value, one.p_value))


def test_the_interval_is_that_of_students_t() -> None:
    low, high = interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.3026527 / 3**0.5, 2 + 4.3026527 / 3**0.5))


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_parameters_are_counted_as_pytorch_has_them(cell: str) -> None:
    model = SequenceClassifier(ModelConfig(cell=cell, input_size=5, hidden_size=7, num_outputs=2))
    assert layer_parameters(cell, 5, 7) == sum(p.numel() for p in model.rnn.parameters())


def test_a_matched_gru_costs_what_the_lstm_costs() -> None:
    task = get_task("vowels")
    dataset = task.load(0)
    assert matched_hidden_size(task, dataset, "gru", "hidden") == 64
    wider = matched_hidden_size(task, dataset, "gru", "parameters")
    costs = [layer_parameters(c, 12, h) + (h + 1) * 9 for c, h in (("lstm", 64), ("gru", wider))]
    assert costs[1] == pytest.approx(costs[0], rel=0.03)


@pytest.mark.slow
def test_a_study_is_kept_and_goes_on_where_it_was(tmp_path: Path) -> None:
    first = compare(["adding-4"], ["gru"], seeds=1, epochs=1, cache=tmp_path, bench_seconds=0.01)
    (kept,) = tmp_path.glob(f"*/{RESULT}")
    written = kept.stat().st_mtime_ns
    both = compare(["adding-4"], ["gru", "lstm"], seeds=1, epochs=1, cache=tmp_path, bench_seconds=0.01)
    assert kept.stat().st_mtime_ns == written
    assert both.runs[0] == first.runs[0]
    assert [exported.cell for exported in both.exported] == ["gru", "lstm"]
    assert both.exported[0].multiply_adds * 4 == both.exported[1].multiply_adds * 3
    assert both.exported[0].latency_ns["ort-cpu"] > 0
    write_study(both, tmp_path / "out")
    page = (tmp_path / "out" / "study.md").read_text()
    for name in ("study-learning.svg", "study-memory.svg"):
        assert name in page
        assert (tmp_path / "out" / name).read_text().lstrip().startswith("<?xml")


def learned(run_: TrainingRun, updates: int | None) -> RunResult:
    return RunResult(run=run_, folder="somewhere", updates=10, updates_to_target=updates, seconds=60.0)


def plan(*tasks: str, seeds: int = 2) -> list[TrainingRun]:
    """LSTM runs of a study."""
    shared = {"cell": "lstm", "hidden_size": 8, "epochs": 2, "settings": "", "version": "0"}
    return [TrainingRun(task=task, seed=seed, **shared) for seed in range(seeds) for task in tasks]


def test_a_longer_length_waits_for_a_seed_that_learned_the_shorter() -> None:
    runs = plan("adding-8", "adding-4", "vowels")
    assert [run.task for run in startable(runs, {}, [])] == ["adding-4", "vowels"] * 2
    one = {run: learned(run, None) for run in runs if (run.task, run.seed) == ("adding-4", 0)}
    assert [run.task for run in startable(runs, one, [])] == ["vowels", "adding-4", "vowels"]
    both = {run: learned(run, 5 if run.seed else None) for run in runs if run.task == "adding-4"}
    assert [run.task for run in startable(runs, both, [])] == ["adding-8", "vowels"] * 2
    assert hopeless(runs, both) == {}


def test_a_cell_that_fails_with_every_seed_is_not_trained_at_longer_lengths() -> None:
    runs = plan("adding-4", "adding-8", "adding-16", "copy-20")
    failed = {run: learned(run, None) for run in runs if run.task == "adding-4"}
    found = hopeless(runs, failed)
    assert {run.task for run in found} == {"adding-8", "adding-16"}
    assert {result.failure for result in found.values()} == {
        "not trained: every seed fails at adding-4",
        "not trained: every seed fails at adding-8",
    }
    assert {run.task for run in startable(runs, failed | found, [])} == {"copy-20"}


def test_the_time_left_is_that_of_the_other_seeds() -> None:
    runs = plan("vowels", "names", seeds=3)
    results = {run: learned(run, 5).model_copy(update={"seconds": 10.0}) for run in runs if run.seed == 0}
    vowels = next(run for run in results if run.task == "vowels")
    results[vowels] = results[vowels].model_copy(update={"seconds": 40.0})
    assert seconds_left(runs, results, processes=2) == (2 * 10 + 2 * 40) / 2


@pytest.mark.slow
def test_a_study_that_fails_at_a_length_says_so(tmp_path: Path) -> None:
    result = compare(["adding-60", "adding-90"], ["lstm"], seeds=1, epochs=1, cache=tmp_path, bench_seconds=0.01)
    assert result.runs[0].updates_to_target is None
    assert result.runs[1].failure == "not trained: every seed fails at adding-60"
    assert length_rows(result) == [["adding", "lstm", "-", "-", "60"]]
    assert [row[-1] for row in memory_rows(result)] == ["fails", "not trained"]
    assert len(quality_rows(result)) == 1
    write_study(result, tmp_path / "out")
    page = (tmp_path / "out" / "study.md").read_text()
    assert (
        "rnnexport compare --task adding-60 --task adding-90 --cells lstm --seeds 1 --epochs 1 -o docs/results`" in page
    )
    task = get_task("adding-60")
    for text in ("failed if missed within 80 updates", task.published, task.citation, task.licence, "mean 0.1"):
        assert text in page


def test_the_default_study_says_of_every_task_where_it_comes_from() -> None:
    for name in TASKS:
        facts = task_facts(name, study_epochs(name))
        assert facts.citation
        assert facts.licence
        assert facts.published
        assert facts.target is not None
        assert all(np.isfinite(value) for value in facts.baselines.values())
    assert len(task_facts("sunspots", 1).baselines) == 2


def test_a_study_of_nothing_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="cell 'gur' is unknown; did you mean 'gru'"):
        compare(["vowels"], ["gur"], cache=tmp_path)
    with pytest.raises(InputError, match="seeds is 0"):
        compare(["vowels"], ["gru"], seeds=0, cache=tmp_path)
