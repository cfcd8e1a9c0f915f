"""Tables, page and plots of a study of LSTM and GRU."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from rnnexport.errors import InputError
from rnnexport.report.numbers import duration, metric_value, size
from rnnexport.study.claims import Claim, interval, is_long_memory
from rnnexport.study.kernels import KernelTimes
from rnnexport.study.runs import RunResult
from rnnexport.study.study import StudyResult
from rnnexport.tasks import get_task

HEADINGS = ("task", "cell", "units", "parameters", "multiply-adds a step", "metric", "test, 95 % interval", "baseline")
COSTS = ("task", "cell", "CPU s/epoch", "CPU s to target", "reached target", "memory", "ONNX file", "latency")


def study_tables(result: StudyResult) -> list[Table]:
    """Quality, cost, and the verdicts."""
    quality = Table(*HEADINGS, title=f"Matched by {result.match}, {result.seeds} seeds", title_justify="left")
    costs = Table(*COSTS, title="Cost", title_justify="left")
    claims = Table("claim", "verdict", "evidence", title="What is said of them", title_justify="left")
    for row in quality_rows(result):
        quality.add_row(*row)
    for row in cost_rows(result):
        costs.add_row(*row)
    for claim in result.claims:
        claims.add_row(claim.sentence, claim.verdict, claim.evidence)
    return [quality, costs, claims]


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


def write_study(result: StudyResult, folder: Path) -> None:
    """Write `study.md`, `study.json` and the plots into `folder`.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from rnnexport.report.study_plots import learning_curves, memory_lengths
    except ImportError as exc:
        raise InputError('plots need matplotlib; run: pip install "rnnexport[study]"') from exc
    folder.mkdir(parents=True, exist_ok=True)
    learning_curves(groups(result), folder / "study-learning.svg")
    lengths = [group for group in groups(result) if is_long_memory(group[0])]
    if lengths:
        memory_lengths(lengths, folder / "study-memory.svg")
    (folder / "study.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / "study.md").write_text(study_page(result, with_memory=bool(lengths)), encoding="utf-8")


def study_page(result: StudyResult, *, with_memory: bool) -> str:
    """The whole study as Markdown."""
    memory = "\n![Whether the long-memory tasks are learned, by length](study-memory.svg)\n" if with_memory else ""
    claims = [[c.sentence, f"**{c.verdict}**", c.evidence, c.test] for c in result.claims]
    kernels = result.kernels
    return f"""# LSTM against GRU, measured
This page is made by `{_command(result)}`; do not edit it by hand.

Every cell is trained on every task with {result.seeds} seed(s), alike in {_MATCHES[result.match]}{_cut(result)}.
A seed draws the weights, the order of the series and the validation part. Choices are made on validation; the test
part is used once. Each training has one thread of its own; time is CPU time of that thread, so other programs
hardly disturb it.

## What is said of them
{_table(("claim", "verdict", "evidence", "test"), claims)}

{_comparisons(result.claims)}
## Quality
RMSE and MSE are errors: less is better. The baseline is the best that needs no model.

{_table(HEADINGS, quality_rows(result))}

![Validation metric by epoch](study-learning.svg)

## Long memory
A cell *fails* at a length if its validation metric misses the task's target within the updates it was given.

{_table(("task", "cell", "updates at most", "reached the target", "updates until then, median"), _memory_rows(result))}
{memory}
## Cost
CPU seconds per epoch are the median of each training, validation included, and the mean over seeds. Memory is what the
process grew by while it trained. Latency is the median of one call with one series of the task's median length.

{_table(COSTS, cost_rows(result))}

Time need not follow the count of gates. PyTorch on a CPU runs the LSTM through oneDNN, and the GRU through its own
code. One layer of {kernels.hidden_size} units, {kernels.batch_size} packed series of {kernels.time_steps} steps,
forward and backward, on one thread:

{_table(("", "LSTM", "GRU"), _kernel_rows(kernels))}

## Limits
* {result.seeds} seeds show large differences only. *Undecided* means that this evidence does not tell, not that there
  is no difference.
* Weights start as PyTorch draws them; an LSTM whose forget gate starts open may remember longer.
* Long memory is judged at the lengths of the table only; what holds there need not hold at ten times the length.
* One set of settings a task, the same for all cells; none was tuned for one of them.
* Versions: {", ".join(f"{name} {version}" for name, version in result.versions.items())}; {os.cpu_count()} cores.
"""


_MATCHES = {
    "hidden": "hidden size",
    "parameters": "number of parameters (that of the task's LSTM)",
    "compute": "multiply-adds a step (those of the task's LSTM)",
}


def _command(result: StudyResult) -> str:
    tasks = dict.fromkeys(run.run.task for run in result.runs)
    words = ["rnnexport", "compare", *(word for task in tasks for word in ("--task", task))]
    words += ["--cells", ",".join(result.cells), "--seeds", str(result.seeds), "--match", result.match]
    words += ["--epochs", str(result.epochs)] if result.epochs else []
    return shlex.join([*words, "-o", "docs"])


def _cut(result: StudyResult) -> str:
    return f", for at most {result.epochs} epochs, which is less than the tasks' own number" if result.epochs else ""


def _memory_rows(result: StudyResult) -> list[list[str]]:
    rows = []
    for task, cell, runs in groups(result):
        if not is_long_memory(task) or not runs:
            continue
        hits = [run.updates_to_target for run in runs if run.updates_to_target is not None]
        allowed = max(run.updates // len(run.validation) * run.run.epochs for run in runs)
        median = f"{np.median(hits):,.0f}" if hits else "fails"
        rows.append([task, cell, f"{allowed:,}", f"{len(hits)} of {len(runs)}", median])
    return rows


def _kernel_rows(kernels: KernelTimes) -> list[list[str]]:
    return [
        [name, f"{times['lstm']:.1f} ms", f"{times['gru']:.1f} ms"]
        for name, times in (("as PyTorch comes", kernels.onednn), ("oneDNN switched off", kernels.plain))
    ]


def _comparisons(claims: Sequence[Claim]) -> str:
    text = ""
    for claim in claims:
        if claim.comparisons:
            rows = [[c.task, f"{c.lstm:.4g}", f"{c.gru:.4g}", f"{c.p_value:.2g}"] for c in claim.comparisons]
            text += f"{claim.sentence}\n\n{_table(('task', 'LSTM', 'GRU', 'p, adjusted'), rows)}\n\n"
    return text


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
