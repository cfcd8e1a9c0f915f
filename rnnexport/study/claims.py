"""What an introductory article says of LSTM and GRU, and what the trainings say of it.

Two cells are compared over seeds by the exact permutation test of the difference of means, two-sided; the p-values of
the tasks of one claim are adjusted by Benjamini and Hochberg (1995), so that of the tasks that are named, one in twenty
at most is there by chance, on average. Seeds are not pairs: the same seed draws other weights for another cell. With n
seeds each, the smallest p-value there can be is 2 / C(2n, n): 0.1 for three seeds, 0.008 for five.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel

from rnnexport.data.metrics import ERRORS
from rnnexport.data.tasks import get_task, memory_length
from rnnexport.study.results import RunResult
from rnnexport.study.trainings import GATES

ALPHA = 0.05
DOMAINS = {"language": "names", "time series": "sunspots", "speech": "vowels"}
Verdict = Literal["supported", "refuted", "undecided"]
Value = Callable[[RunResult], float]


class CellComparison(BaseModel):
    """LSTM and GRU on one task."""

    task: str
    lstm: float
    gru: float
    gru_better: bool
    p_value: float
    """Adjusted for the number of tasks."""

    @property
    def significant(self) -> bool:
        """Whether chance alone would hardly give this difference."""
        return self.p_value < ALPHA


class Claim(BaseModel):
    """One sentence of the article, judged."""

    sentence: str
    verdict: Verdict
    evidence: str
    test: str
    comparisons: list[CellComparison] = []


def judge(results: Sequence[RunResult]) -> list[Claim]:
    """Judge every claim that these results bear on; the others are undecided."""
    results = [result for result in results if result.failure is None]
    long = [result for result in results if is_long_memory(result.run.task)]
    return [
        _less_compute(results),
        _faster(results),
        _better_somewhere(results),
        _lstm_on_long(long),
        _useful(results),
    ]


def is_long_memory(task: str) -> bool:
    """Whether the task asks for nothing but memory."""
    return memory_length(task) is not None


def permutation_p(a: Sequence[float], b: Sequence[float]) -> float:
    """P-value of the exact two-sided permutation test of the difference of means; 1 where all values are equal."""
    from scipy.stats import permutation_test

    if min(len(a), len(b)) < 2 or len({*a, *b}) == 1:
        return 1.0
    test = permutation_test(
        (a, b), lambda x, y, axis: np.mean(x, axis) - np.mean(y, axis), vectorized=True, n_resamples=np.inf
    )
    return float(test.pvalue)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % confidence interval of the mean by Student's t; without bounds for a single value."""
    from scipy.stats import t

    if len(values) < 2:
        return -np.inf, np.inf
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def compare_cells(
    results: Sequence[RunResult], value: Value, less_is_better: Callable[[str], bool]
) -> list[CellComparison]:
    """Compare the two cells on every task that both were trained on; p-values are adjusted for their number."""
    found = []
    for task in dict.fromkeys(result.run.task for result in results):
        of_task = [result for result in results if result.run.task == task]
        lstm, gru = ([value(r) for r in of_task if r.run.cell == cell] for cell in ("lstm", "gru"))
        if lstm and gru:
            less = np.mean(gru) < np.mean(lstm)
            found.append(
                CellComparison(
                    task=task,
                    lstm=float(np.mean(lstm)),
                    gru=float(np.mean(gru)),
                    gru_better=bool(less == less_is_better(of_task[0].metric) and np.mean(gru) != np.mean(lstm)),
                    p_value=permutation_p(lstm, gru),
                )
            )
    return _adjusted(found)


def _adjusted(found: list[CellComparison]) -> list[CellComparison]:
    from scipy.stats import false_discovery_control

    p_values = false_discovery_control([one.p_value for one in found]) if found else []
    return [one.model_copy(update={"p_value": float(p)}) for one, p in zip(found, p_values, strict=True)]


def _less_compute(results: Sequence[RunResult]) -> Claim:
    counts = {
        (r.run.task, r.run.hidden_size, r.run.cell): r.parameters for r in results if r.run.cell in ("lstm", "gru")
    }
    shares = [
        counts[task, size, "gru"] / parameters
        for (task, size, cell), parameters in counts.items()
        if cell == "lstm" and (task, size, "gru") in counts
    ]
    verdict: Verdict = "undecided"
    evidence = "No task has an LSTM and a GRU of the same hidden size."
    if shares:
        verdict = "supported" if max(shares) < 1 else "refuted"
        evidence = (
            f"At equal hidden size the trained GRUs have {100 * min(shares):.0f} to {100 * max(shares):.0f} % of the "
            f"LSTMs' parameters, and their layers {GATES['gru']} products with weights a step to the LSTM's "
            f"{GATES['lstm']}."
        )
    return Claim(
        sentence="The GRU has fewer gates, so it needs less compute.",
        verdict=verdict,
        evidence=evidence,
        test="counted in the trained models, not sampled",
    )


def _faster(results: Sequence[RunResult]) -> Claim:
    comparisons = compare_cells(results, lambda r: r.cpu_seconds_per_epoch, lambda _: True)
    return _decided(
        "The GRU trains faster.", comparisons, gru=True, what="CPU time per epoch, in PyTorch on this machine's CPU"
    )


def _better_somewhere(results: Sequence[RunResult]) -> Claim:
    """Where training goes on until the model is as good as it gets: at a long-memory task it stops at the target."""
    trained_out = [result for result in results if not get_task(result.run.task).stop_at_target]
    comparisons = compare_cells(trained_out, lambda r: r.test, lambda metric: metric in ERRORS)
    claim = _decided("The GRU does better on some tasks.", comparisons, gru=True, what="test metric")
    if any(c.significant and c.gru_better for c in comparisons):
        return claim.model_copy(update={"verdict": "supported"})
    worse_everywhere = comparisons and all(c.significant for c in comparisons)
    return claim.model_copy(update={"verdict": "refuted" if worse_everywhere else "undecided"})


def _lstm_on_long(results: Sequence[RunResult]) -> Claim:
    """By updates until the task is learned, since training ends there; all of them where it never was."""
    comparisons = compare_cells(results, lambda r: r.updates_to_target or r.updates + 1, lambda _: True)
    sentence = "On long sequences the LSTM may have the advantage."
    return _decided(sentence, comparisons, gru=False, what="updates until a long-memory task is learned")


def _decided(sentence: str, comparisons: list[CellComparison], *, gru: bool, what: str) -> Claim:
    """Supported where the cell is significantly better on a task and worse on none; refuted if reversed."""
    wins = [c.task for c in comparisons if c.significant and c.gru_better == gru]
    losses = [c.task for c in comparisons if c.significant and c.gru_better != gru]
    verdict: Verdict = "undecided"
    if bool(wins) != bool(losses):
        verdict = "supported" if wins else "refuted"
    cell = "GRU" if gru else "LSTM"
    return Claim(
        sentence=sentence,
        verdict=verdict,
        evidence=f"{what}: the {cell} is better on {', '.join(wins) or 'no task'} and worse on "
        f"{', '.join(losses) or 'none'}; on the others of {len(comparisons)} tasks chance explains the difference.",
        test="exact permutation test over seeds, two-sided, p < 0.05 after Benjamini and Hochberg's adjustment",
        comparisons=comparisons,
    )


def _useful(results: Sequence[RunResult]) -> Claim:
    beaten: list[str] = []
    missed: list[str] = []
    absent: list[str] = []
    for domain, task in DOMAINS.items():
        for cell in ("lstm", "gru"):
            of_cell = [r for r in results if r.run.task == task and r.run.cell == cell]
            bounds = interval([r.test for r in of_cell]) if len(of_cell) > 1 else None
            if bounds is None:
                absent.append(f"{domain} ({cell})")
                continue
            baseline, error = of_cell[0].baseline, of_cell[0].metric in ERRORS
            good = bounds[1] < baseline if error else bounds[0] > baseline
            (beaten if good else missed).append(f"{domain} ({cell})")
    verdict: Verdict = "undecided" if absent or missed else "supported"
    return Claim(
        sentence="Both serve for language, time series and speech.",
        verdict=verdict,
        evidence=f"Better than the best forecast without a model in: {', '.join(beaten) or 'none'}"
        + (f"; not in: {', '.join(missed)}" if missed else "")
        + (f"; not measured: {', '.join(absent)}" if absent else "")
        + ".",
        test="the 95 % interval (Student's t over seeds) lies on the good side of the baseline",
    )
