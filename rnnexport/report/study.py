"""Tables of a study of LSTM and GRU."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from rnnexport.data.tasks import get_task, memory_length
from rnnexport.report.numbers import duration, metric_value, size
from rnnexport.study.claims import interval
from rnnexport.study.results import RunResult
from rnnexport.study.study import StudyResult

HEADINGS = ("task", "cell", "units", "parameters", "multiply-adds a step", "metric", "test, 95 % interval", "baseline")
COSTS = ("task", "cell", "CPU s/epoch", "CPU s to target", "reached target", "memory", "ONNX file", "latency")
MEMORY = ("task", "cell", "updates at most", "reached the target", "updates until then, median")
LENGTHS = ("task", "cell", "every seed learns up to", "some seed learns up to", "fails at")


def study_tables(result: StudyResult) -> list[Table]:
    """Quality, the lengths of memory, cost, and the verdicts."""
    quality = Table(*HEADINGS, title=f"Matched by {result.match}, {result.seeds} seeds", title_justify="left")
    lengths = Table(*LENGTHS, title="Long memory, in time steps", title_justify="left")
    costs = Table(*COSTS, title="Cost", title_justify="left")
    claims = Table("claim", "verdict", "evidence", title="What is said of them", title_justify="left")
    for row in quality_rows(result):
        quality.add_row(*row)
    for row in length_rows(result):
        lengths.add_row(*row)
    for row in cost_rows(result):
        costs.add_row(*row)
    for claim in result.claims:
        claims.add_row(claim.sentence, claim.verdict, claim.evidence)
    return [quality, lengths, costs, claims] if lengths.rows else [quality, costs, claims]


def groups(result: StudyResult) -> list[tuple[str, str, list[RunResult]]]:
    """Task, cell, and the runs of all seeds that have figures."""
    pairs = dict.fromkeys((run.run.task, run.run.cell) for run in result.runs)
    return [
        (task, cell, [r for r in result.runs if (r.run.task, r.run.cell) == (task, cell) and r.failure is None])
        for task, cell in pairs
    ]


def quality_rows(result: StudyResult) -> list[list[str]]:
    """One row for each task and cell, as HEADINGS."""
    rows = []
    for task, cell, runs in groups(result):
        if not runs:
            if not is_skipped(result, task, cell):
                rows.append([task, cell, *["-"] * 4, "diverged", "-"])
            continue
        exported = next((e for e in result.exported if (e.task, e.cell) == (task, cell)), None)
        metric, tests = runs[0].metric, [run.test for run in runs]
        low, high = interval(tests)
        mean = metric_value(metric, float(np.mean(tests)))
        span = f" ({metric_value(metric, low)} to {metric_value(metric, high)})" if len(tests) > 1 else ""
        rows.append(
            [
                task,
                cell,
                str(runs[0].run.hidden_size),
                f"{runs[0].parameters:,}",
                f"{exported.multiply_adds:,}" if exported else "-",
                metric,
                mean + span,
                metric_value(metric, runs[0].baseline),
            ]
        )
    return rows


def cost_rows(result: StudyResult) -> list[list[str]]:
    """One row for each task and cell, as COSTS."""
    rows = []
    for task, cell, runs in groups(result):
        if not runs:
            continue
        exported = next((e for e in result.exported if (e.task, e.cell) == (task, cell)), None)
        latencies = [f"{name} {duration(ns)}" for name, ns in exported.latency_ns.items()] if exported else []
        times = [run.cpu_seconds_to_target for run in runs if run.cpu_seconds_to_target is not None]
        rows.append(
            [
                task,
                cell,
                f"{np.mean([run.cpu_seconds_per_epoch for run in runs]):.2f}",
                f"{np.median(times):.1f}" if times else "-",
                f"{len(times)} of {len(runs)}" if get_task(task).target is not None else "no target",
                size(float(np.median([run.peak_memory_bytes for run in runs]))),
                size(exported.onnx_bytes) if exported else "-",
                ", ".join(latencies) or "-",
            ]
        )
    return rows


def is_skipped(result: StudyResult, task: str, cell: str) -> bool:
    """Whether the cell was not trained there, since it fails at a shorter length."""
    return all(not run.folder for run in result.runs if (run.run.task, run.run.cell) == (task, cell))


def memory_rows(result: StudyResult) -> list[list[str]]:
    """One row for each long-memory task and cell, as MEMORY."""
    rows = []
    for task, cell, runs in groups(result):
        if memory_length(task) is None:
            continue
        if not runs:
            rows.append([task, cell, "-", "-", "not trained" if is_skipped(result, task, cell) else "diverged"])
            continue
        allowed = next(facts.updates for facts in result.tasks if facts.name == task)
        hits = [run.updates_to_target for run in runs if run.updates_to_target is not None]
        median = f"{np.median(hits):,.0f}" if hits else "fails"
        rows.append([task, cell, f"{allowed:,}", f"{len(hits)} of {len(runs)}", median])
    return rows


def length_rows(result: StudyResult) -> list[list[str]]:
    """One row for each kind of long-memory task and cell, as LENGTHS."""
    reached: dict[tuple[str, str], dict[int, list[bool]]] = {}
    for run in result.runs:
        if (length := memory_length(run.run.task)) is not None and run.folder:
            by_length = reached.setdefault((length[0], run.run.cell), {})
            by_length.setdefault(length[1], []).append(run.updates_to_target is not None)
    rows = []
    for (kind, cell), by_length in reached.items():
        unreliable = [steps for steps, hits in by_length.items() if not all(hits)]
        failing = [steps for steps, hits in by_length.items() if not any(hits)]
        every = [steps for steps in by_length if steps < min(unreliable, default=steps + 1)]
        some = [steps for steps, hits in by_length.items() if any(hits)]
        fails = str(min(failing)) if failing else f"none up to {max(by_length)}"
        rows.append([kind, cell, str(max(every, default="-")), str(max(some, default="-")), fails])
    return rows
