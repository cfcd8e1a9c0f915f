"""Which trainings of a study may start, and about how long the rest takes.

A long-memory task is trained at a longer length only by a cell of which some seed learned the next shorter one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from rnnexport.data.tasks import memory_length
from rnnexport.study.results import RunResult
from rnnexport.study.trainings import TrainingRun

Results = Mapping[TrainingRun, RunResult]


def startable(runs: Sequence[TrainingRun], results: Results, running: Collection[TrainingRun]) -> list[TrainingRun]:
    """Runs that nothing stands in the way of: seed by seed, the longest first, so that no core idles at the end."""
    free = [run for run in runs if run not in results and run not in running and _may_start(run, runs, results)]
    return sorted(free, key=lambda run: (run.seed, -(memory_length(run.task) or ("", 0))[1]))


def hopeless(runs: Sequence[TrainingRun], results: Results) -> dict[TrainingRun, RunResult]:
    """Results that stand for the runs at lengths beyond one at which every seed of the cell failed."""
    found: dict[TrainingRun, RunResult] = {}
    for run in sorted(runs, key=lambda run: (memory_length(run.task) or ("", 0))[1]):
        known = {**results, **found}
        shorter = _next_shorter(run, runs)
        if run not in known and shorter and all(one in known and not _learned(known[one]) for one in shorter):
            why = f"not trained: every seed fails at {shorter[0].task}"
            found[run] = RunResult(run=run, folder="", failure=why)
    return found


def seconds_left(runs: Sequence[TrainingRun], results: Results, processes: int) -> float:
    """How long the runs without a result take: as other seeds did, or as the mean of all where there is none."""
    trained = [(run, result.seconds) for run, result in results.items() if result.seconds is not None]
    if not trained:
        return float("nan")

    def estimate(run: TrainingRun) -> float:
        alike = [seconds for other, seconds in trained if (other.task, other.cell) == (run.task, run.cell)]
        return float(np.mean(alike or [seconds for _, seconds in trained]))

    return sum(estimate(run) for run in runs if run not in results) / processes


def _may_start(run: TrainingRun, runs: Sequence[TrainingRun], results: Results) -> bool:
    shorter = _next_shorter(run, runs)
    return not shorter or any(one in results and _learned(results[one]) for one in shorter)


def _learned(result: RunResult) -> bool:
    return result.updates_to_target is not None


def _next_shorter(run: TrainingRun, runs: Sequence[TrainingRun]) -> list[TrainingRun]:
    """The runs of the same cell and kind of task at the next shorter length."""
    kind, steps = memory_length(run.task) or ("", 0)
    shorter = [
        (length[1], other)
        for other in runs
        if other.cell == run.cell and (length := memory_length(other.task)) and length[0] == kind and length[1] < steps
    ]
    return [other for length, other in shorter if length == max(length for length, _ in shorter)]
