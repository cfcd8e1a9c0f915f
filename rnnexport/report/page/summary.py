"""The verdict in one sentence, and the table that people look for: one row for each runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rnnexport.benchmark.results import BenchReport, Measurement
from rnnexport.benchmark.verdicts import judge
from rnnexport.bundle.bundle import Bundle
from rnnexport.engines.contract import Definition
from rnnexport.parity.results import ParityReport, RuntimeParity
from rnnexport.report.numbers import duration, duration_within, metric_value, rate, size, times
from rnnexport.report.page.collected import Collected

HEADINGS = (
    "bundle",
    "runtime",
    "batch × time",
    "parity",
    "largest error, × float32's own",
    "metric",
    "latency, 95 % interval",
    "standing",
    "throughput",
    "size",
    "first call",
    "memory",
)
Tone = Literal["good", "bad", "open"]


@dataclass(frozen=True)
class PageVerdict:
    """What one bundle comes to."""

    name: str
    tone: Tone
    word: str
    sentence: str


@dataclass(frozen=True)
class SummaryRow:
    """One runtime at one shape, as `HEADINGS`."""

    cells: Sequence[str]
    is_best: bool
    is_wrong: bool


def summary_rows(collected: Collected) -> list[SummaryRow]:
    """One row for each runtime, and for each shape where several were measured."""
    parity, bench = collected.parity.report, collected.bench.report
    judged = {runtime.definition.name: runtime for runtime in parity.runtimes} if parity else {}
    measured = [row for row in bench.measurements if not row.not_applicable] if bench else []
    rows = [_row(collected, row.definition, judged.get(row.definition.name), row) for row in measured]
    have = {row.definition.name for row in measured}
    return rows + [_row(collected, each.definition, each, None) for name, each in judged.items() if name not in have]


def _row(
    collected: Collected, definition: Definition, judged: RuntimeParity | None, row: Measurement | None
) -> SummaryRow:
    parity, bench = collected.parity.report, collected.bench.report
    standing = _standing(row, bench, parity) if row and bench else "-"
    latency = duration_within(row.median_ns, row.median_interval_ns) if row else "-"
    if row and row.median_ns is not None and not row.stable:
        latency += ", unstable"
    cells = [
        collected.name,
        definition.name,
        f"{row.batch_size} × {row.time_steps}" if row else "-",
        _parity_word(judged),
        _own_error(judged, parity),
        metric_value(parity.metric, judged.metric) if parity and judged else "-",
        "no figure" if row and row.failure else latency,
        standing,
        rate(row.series_per_second) if row else "-",
        size(_bytes(collected.bundle, definition)),
        duration(row.first_call_ns) if row else "-",
        size(row.peak_memory_bytes) if row else "-",
    ]
    return SummaryRow(cells, standing == "best", bool(judged and not judged.passed))


def _parity_word(judged: RuntimeParity | None) -> str:
    if judged is None:
        return "not verified"
    if judged.not_applicable:
        return "n/a"
    return "right" if judged.passed else "WRONG"


def _own_error(judged: RuntimeParity | None, parity: ParityReport | None) -> str:
    found = _times_own_error(judged) if judged and parity else None
    return "-" if found is None else times(found)


def _times_own_error(judged: RuntimeParity) -> float | None:
    """At the largest error of each output, as `verify` tells it; of several outputs the largest."""
    found = [judged.worst(output) for output in {c.output for case in judged.cases for c in case.comparisons}]
    return max((worst[1].times_float32_error for worst in found if worst), default=None)


def _bytes(bundle: Bundle, definition: Definition) -> int | None:
    """Of the files that a runtime loads."""
    names = ["model.json", "weights.safetensors"] if definition.engine == "torch" else ["model.onnx", "model.onnx.data"]
    sizes = [(bundle.path / name).stat().st_size for name in names if name in bundle.manifest.files]
    return sum(sizes) or None


def _standing(row: Measurement, bench: BenchReport, parity: ParityReport | None) -> str:
    """Beside the fastest right row of the same shape, by the verdicts of bench."""
    rivals = fastest_first(bench, parity, row.batch_size, row.time_steps)
    if not any(rival is row for rival in rivals):
        return "-"
    if len(rivals) == 1:
        return "the only one"
    if rivals[0] is row:
        open_ = [rival for rival in rivals[1:] if _beside(rivals[0], rival) == "cannot tell"]
        return "best" if not open_ else "cannot tell"
    return _beside(rivals[0], row)


def fastest_first(
    bench: BenchReport, parity: ParityReport | None, batch_size: int, time_steps: int
) -> list[Measurement]:
    """The rows of a shape with figures, of runtimes that are not known to be wrong."""
    wrong = {runtime.definition.name for runtime in parity.runtimes if not runtime.passed} if parity else set()
    rows = [
        row
        for row in bench.measurements
        if (row.batch_size, row.time_steps) == (batch_size, time_steps)
        and row.median_ns is not None
        and row.definition.name not in wrong
    ]
    return sorted(rows, key=lambda row: row.median_ns or 0)


def _beside(best: Measurement, row: Measurement) -> str:
    verdict = judge(best.repetitions, row.repetitions)
    if verdict.outcome == "slower" and verdict.ratio is not None:
        return f"{times(verdict.ratio)} as long"
    return {"equivalent": "as fast as the best", "faster": "cannot tell"}.get(verdict.outcome, "cannot tell")


def verdict_of(collected: Collected) -> PageVerdict:
    """One sentence on one bundle."""
    name, parity = collected.name, collected.parity.report
    path = collected.bundle.path
    if parity is None or collected.parity.state == "damaged":
        return PageVerdict(name, "open", "Not proven", f"Nobody has verified {name} yet; run: rnnexport verify {path}.")
    ran = [runtime for runtime in parity.runtimes if not runtime.not_applicable]
    wrong = [runtime.definition.name for runtime in ran if not runtime.passed]
    stale = [evidence.name for evidence in collected.all if evidence.state in ("stale", "damaged")]
    if collected.parity.state == "stale":
        sentence = f"The proof of {name} is of an earlier export and says nothing of this one"
        return PageVerdict(name, "open", "Not proven", f"{sentence}; run: rnnexport verify {path}.")
    if not ran:
        return PageVerdict(name, "open", "Not proven", f"{name} was run in no runtime.")
    if wrong:
        right = [runtime.definition.name for runtime in ran if runtime.passed]
        but = f", right in {', '.join(right)}" if right else ""
        return PageVerdict(
            name, "bad", "Wrong", f"{name} is wrong in {', '.join(wrong)}{but}{_notes(collected, stale)}."
        )
    largest = max((_times_own_error(runtime) or 0.0 for runtime in ran), default=0.0)
    where = ran[0].definition.name if len(ran) == 1 else f"all {len(ran)} runtimes that were tried"
    errors = f"errors of at most {times(largest)} float32's own, all within tolerance"
    sentence = f"{name} is right in {where}, with {errors}"
    if parity.metric and parity.reference_metric is not None:
        sentence += f", and {parity.metric} {metric_value(parity.metric, parity.reference_metric)}"
    return PageVerdict(name, "good", "Right", f"{sentence}{_notes(collected, stale)}.")


def _notes(collected: Collected, stale: Sequence[str]) -> str:
    """What else the sentence says: speed, drift, plan, and what cannot be relied on."""
    notes = [_speed(collected), _drift(collected), _plan(collected)]
    if stale:
        notes.append(f"{', '.join(stale)} cannot be relied on any more")
    return "".join(f"; {note}" for note in notes if note)


def _speed(collected: Collected) -> str:
    bench = collected.bench.report
    if bench is None or collected.bench.state != "current" or not bench.measurements:
        return ""
    first = bench.measurements[0]
    rivals = fastest_first(bench, collected.parity.report, first.batch_size, first.time_steps)
    if not rivals:
        return ""
    best = rivals[0]
    shape = f"for a call of batch {first.batch_size} and {first.time_steps} time steps"
    time = duration(best.median_ns)
    if len(rivals) == 1:
        return f"{best.definition.name} takes {time} {shape}"
    if _standing(best, bench, collected.parity.report) == "best":
        return f"{best.definition.name} is the fastest, {time} {shape}"
    return f"nobody can tell which runtime is the fastest, the least is {time} in {best.definition.name} {shape}"


def _drift(collected: Collected) -> str:
    drift = collected.drift.report
    if drift is None or collected.drift.state != "current":
        return ""
    growing = [runtime.definition.name for runtime in drift.runtimes if not runtime.passed]
    return f"its error grows in {', '.join(growing)}" if growing else f"its error is bounded over {drift.steps:,} steps"


def _plan(collected: Collected) -> str:
    tune = collected.tune.report
    if tune is None or collected.tune.state != "current" or tune.chosen is None:
        return ""
    if tune.chosen.reason:
        untried = f" ({len(tune.unmeasured)} of {len(tune.candidates)} had no turn)" if tune.unmeasured else ""
        return f"its plan is the baseline, since {tune.chosen.reason}{untried}"
    ratio = tune.chosen.times_plain or 1.0
    return f"its plan, {tune.chosen.name}, is {times(ratio)} as fast as the baseline"
