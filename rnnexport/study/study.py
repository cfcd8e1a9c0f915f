"""Train LSTM and GRU on the same tasks, several seeds each, and judge what is said of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from rnnexport.benchmark.benchmark import bench
from rnnexport.data.tasks import get_task, memory_length
from rnnexport.errors import InputError
from rnnexport.exporting.export import export
from rnnexport.results.result import Result
from rnnexport.study.claims import Claim, judge
from rnnexport.study.kernels import KernelTimes, kernel_times
from rnnexport.study.results import RunResult
from rnnexport.study.runs import run_all
from rnnexport.study.task_notes import TaskFacts, task_facts
from rnnexport.study.trainings import (
    Match,
    TrainingRun,
    layer_input_size,
    matched_hidden_size,
    multiply_adds,
    settings_digest,
)
from rnnexport.training.checkpoints import CHECKPOINTS
from rnnexport.versions import tool_versions

CACHE = CHECKPOINTS / "study"
ADDING, COPY = (50, 100, 200, 400, 800), (5, 10, 20, 50, 100)
TASKS = (
    *("vowels", "names", "sunspots", "ecg", "plaid"),
    *(f"adding-{steps}" for steps in ADDING),
    *(f"copy-{steps}" for steps in COPY),
)
EPOCHS = {"adding": 15, "copy": 25}
"""Passes of a study over the long-memory tasks, where failing takes the whole of them; the others' are their own."""
CELLS = ("lstm", "gru")
SEEDS = 5


class Exported(BaseModel):
    """The first seed's model of a task and cell, exported."""

    task: str
    cell: str
    hidden_size: int
    multiply_adds: int
    """Of the recurrent layer, at one time step."""
    onnx_bytes: int
    time_steps: int
    latency_ns: dict[str, int]
    """Median of one call with one series, by runtime."""


class StudyResult(Result):
    """What `rnnexport compare` measured."""

    schema_version: Literal[1] = 1
    match: Match
    cells: list[str]
    seeds: int
    epochs: int | None
    """Where all tasks were cut to so many epochs."""
    tasks: list[TaskFacts]
    runs: list[RunResult]
    exported: list[Exported]
    kernels: KernelTimes
    claims: list[Claim]
    versions: dict[str, str]

    def records(self) -> list[dict[str, Any]]:
        """A row for each training."""
        return [{**run.run.model_dump(), **run.model_dump(exclude={"run", "validation"})} for run in self.runs]


def compare(
    tasks: Sequence[str] = TASKS,
    cells: Sequence[str] = CELLS,
    *,
    seeds: int = SEEDS,
    match: Match = "hidden",
    epochs: int | None = None,
    cache: Path = CACHE,
    bench_seconds: float = 0.5,
    on_progress: Callable[[str], None] = lambda _: None,
) -> StudyResult:
    """Train every cell on every task with every seed, and judge the claims.

    A cell that fails at one length of a long-memory task with every seed is not trained at the longer ones.

    Args:
        tasks: Names of tasks; those of long memory carry their length, as in `adding-200`.
        cells: Names of cells.
        seeds: Trainings of each; seed 0 is the one that is exported.
        match: What is alike between the cells: the hidden size, or the cost of the task's LSTM.
        epochs: At most so many; the study's own numbers where it is not given.
        cache: Folder of what is done already.
        bench_seconds: How long each exported model is measured in each runtime.
        on_progress: Told what is done.

    Raises:
        UnknownNameError: A task or a cell does not exist.
        InputError: There are no seeds, or a task's data are not installed.
    """
    from rnnexport.models.classifier import check_cell

    for cell in cells:
        check_cell(cell)
    if seeds < 1 or (epochs is not None and epochs < 1):
        raise InputError(f"seeds is {seeds}, epochs is {epochs}; both must be at least 1")
    versions = tool_versions()
    hidden_sizes = _hidden_sizes(tasks, cells, match)
    runs = [
        TrainingRun(
            task=name,
            cell=cell,
            hidden_size=hidden_size,
            epochs=study_epochs(name, epochs),
            seed=seed,
            settings=settings_digest(get_task(name)),
            version=versions["rnnexport"],
        )
        for seed in range(seeds)
        for (name, cell), hidden_size in hidden_sizes.items()
    ]
    cache.mkdir(parents=True, exist_ok=True)
    results = run_all(runs, cache, on_progress)
    exported = [
        _export(result, cache, bench_seconds, on_progress)
        for result in results
        if result.run.seed == 0 and result.failure is None
    ]
    return StudyResult(
        match=match,
        cells=list(cells),
        seeds=seeds,
        epochs=epochs,
        tasks=[task_facts(name, study_epochs(name, epochs)) for name in tasks],
        runs=results,
        exported=exported,
        kernels=kernel_times(),
        claims=judge(results),
        versions=versions,
    )


def _hidden_sizes(tasks: Sequence[str], cells: Sequence[str], match: Match) -> dict[tuple[str, str], int]:
    """Of each task and cell."""
    sizes: dict[tuple[str, str], int] = {}
    for name in tasks:
        task = get_task(name)
        dataset = task.load(0)
        sizes |= {(name, cell): matched_hidden_size(task, dataset, cell, match) for cell in cells}
    return sizes


def study_epochs(task: str, at_most: int | None = None) -> int:
    """How many passes a study makes over a task, unless the target is reached or patience runs out before."""
    length = memory_length(task)
    own = EPOCHS[length[0]] if length else get_task(task).defaults.epochs
    return min(own, at_most or own)


def _export(result: RunResult, cache: Path, seconds: float, on_progress: Callable[[str], None]) -> Exported:
    run = result.run
    kept = cache / run.key / "exported.json"
    if kept.exists():
        return Exported.model_validate_json(kept.read_text(encoding="utf-8"))
    on_progress(f"export and latency of {run.task}, {run.cell}")
    task = get_task(run.task)
    dataset = task.load(0)
    folder = cache / run.key / "bundle"
    export(cache / run.key, out=folder)
    time_steps = int(np.median([len(values) for values in dataset.test.series]))
    report = bench([folder], time_steps=[time_steps], seconds=seconds, repetitions=1)
    medians = {m.definition.name: m.latency_ns(50) for m in report.measurements}
    exported = Exported(
        task=run.task,
        cell=run.cell,
        hidden_size=run.hidden_size,
        multiply_adds=multiply_adds(run.cell, layer_input_size(task, dataset), run.hidden_size),
        onnx_bytes=(folder / "model.onnx").stat().st_size,
        time_steps=time_steps,
        latency_ns={name: median for name, median in medians.items() if median is not None},
    )
    shutil.rmtree(folder)
    kept.write_text(exported.model_dump_json(), encoding="utf-8")
    return exported
