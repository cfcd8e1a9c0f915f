"""The page of a study of LSTM and GRU, with its plots and its JSON."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from rnnexport.errors import InputError
from rnnexport.report.numbers import metric_value
from rnnexport.report.study import (
    COSTS,
    HEADINGS,
    LENGTHS,
    MEMORY,
    cost_rows,
    groups,
    length_rows,
    memory_rows,
    quality_rows,
)
from rnnexport.study.claims import Claim, is_long_memory
from rnnexport.study.kernels import KernelTimes
from rnnexport.study.study import CELLS, SEEDS, TASKS, StudyResult
from rnnexport.study.task_notes import TaskFacts


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
A seed draws the weights, the order of the series and the validation part. Choices, early stopping among them, look at
validation only; the test part is used once. Each training has one thread of its own; time is CPU time of that thread,
so other programs hardly disturb it.

## What is said of them
{_table(("claim", "verdict", "evidence", "test"), claims)}

{_comparisons(result.claims)}
## Quality
RMSE and MSE are errors: less is better. The baseline is the best that needs no model; all of them are under *Tasks*.
The long-memory tasks stop at their target, so their figures say no more than that it was reached, or how nearly.

{_table(HEADINGS, quality_rows(result))}

![Validation metric by epoch](study-learning.svg)

## Long memory
A seed misses a length if its validation metric does not reach the task's target within the updates it is given. A cell
*fails* at the first length that all its seeds miss; it is not trained at longer ones. Lengths are those of the adding
problem's series and of the copy task's pause, in time steps.

{_table(LENGTHS, length_rows(result))}

{_table(MEMORY, memory_rows(result))}
{memory}
## Cost
CPU seconds per epoch are the median of each training, validation included, and the mean over seeds. Memory is what the
process grew by while it trained. Latency is the median of one call with one series of the task's median length.

{_table(COSTS, cost_rows(result))}

Time need not follow the count of gates. PyTorch on a CPU runs the LSTM through oneDNN, and the GRU through its own
code, whose gradient takes time quadratic in the number of steps where series are packed. So the trainer packs only
batches whose series differ in length. One layer of {kernels.hidden_size} units, {kernels.batch_size} series of
{kernels.time_steps} steps, forward and backward, on one thread:

{_table(("", "LSTM", "GRU"), _kernel_rows(kernels))}

## Tasks
{_tasks(result.tasks)}

## Limits
* {result.seeds} seeds show large differences only. *Undecided* means that this evidence does not tell, not that there
  is no difference.
* Weights start as PyTorch draws them; an LSTM whose forget gate starts open may remember longer.
* Long memory is judged at the lengths of the table only, and within so many updates: what fails here may be learned
  with ten times as many.
* One set of settings a task, the same for all cells; none was tuned for one of them.
* Versions: {", ".join(f"{name} {version}" for name, version in result.versions.items())}; {os.cpu_count()} cores.
"""


_MATCHES = {
    "hidden": "hidden size",
    "parameters": "number of parameters (that of the task's LSTM)",
    "compute": "multiply-adds a step (those of the task's LSTM)",
}


def _command(result: StudyResult) -> str:
    """What one types to make it again, without what goes without saying."""
    tasks = tuple(task.name for task in result.tasks)
    words = ["rnnexport", "compare", *(word for task in tasks for word in ("--task", task) if tasks != TASKS)]
    words += ["--cells", ",".join(result.cells)] if tuple(result.cells) != CELLS else []
    words += ["--seeds", str(result.seeds)] if result.seeds != SEEDS else []
    words += ["--match", result.match] if result.match != "hidden" else []
    words += ["--epochs", str(result.epochs)] if result.epochs else []
    return shlex.join([*words, "-o", "docs/results"])


def _cut(result: StudyResult) -> str:
    return f", for at most {result.epochs} epochs, which is less than the study's own number" if result.epochs else ""


def _kernel_rows(kernels: KernelTimes) -> list[list[str]]:
    return [[way, f"{times['lstm']:.1f} ms", f"{times['gru']:.1f} ms"] for way, times in kernels.milliseconds.items()]


def _tasks(tasks: Sequence[TaskFacts]) -> str:
    """Every task; of a source that several share, the text stands at the first."""
    first: dict[str, str] = {}
    return "\n\n".join(_task(task, first.setdefault(task.citation, task.name)) for task in tasks)


def _task(task: TaskFacts, like: str) -> str:
    baselines = ", ".join(f"{name} {metric_value(task.metric, value)}" for name, value in task.baselines.items())
    series = ", ".join(f"{count:,} {part}" for part, count in task.series.items())
    target = "no target" if task.target is None else f"target {metric_value(task.metric, task.target)} on validation"
    budget = f"{target}, failed if missed within {task.updates:,} updates"
    text = f"**{task.name}** ({task.metric}; {budget}; series: {series})\n"
    if task.name != like:
        return text + f"As {like}, at another length. Without a model: {baselines}."
    return f"""{text}{task.description}
Without a model: {baselines}.
Published: {task.published}
Source: {task.citation}
Licence: {task.licence}"""


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
