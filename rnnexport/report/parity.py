"""Tables of a parity report."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from rnnexport.parity.diagnosis.diagnosis import Diagnosis
from rnnexport.parity.results import FAULT_IN, ParityReport, RuntimeParity
from rnnexport.report.numbers import metric_value, percent


def parity_tables(report: ParityReport) -> list[Table | Text]:
    """One row per runtime and output, then one line per fault."""
    reference = f" ({report.metric} {metric_value(report.metric, report.reference_metric)})" if report.metric else ""
    table = Table(title=f"{report.bundle}: parity with the float64 reference{reference}", title_justify="left")
    for heading in ("runtime", "output", "calls", "largest error", "× float32's own", "worst at"):
        table.add_column(heading)
    if report.metric is not None:
        table.add_column(report.metric)
    table.add_column("NaN, Inf")
    table.add_column("verdict")
    for runtime in report.runtimes:
        for output in report.outputs:
            table.add_row(*_row(report, runtime, output))
    for missing in report.not_usable:
        table.add_row(missing.definition.name, *["-"] * (len(table.columns) - 2), Text("not usable", style="yellow"))
    faults: list[Table | Text] = [
        Text(line, style="red") for runtime in report.runtimes for line in fault_lines(report, runtime)
    ]
    faults += [Text(f"{r.definition.name}: {r.not_applicable}") for r in report.runtimes if r.not_applicable]
    missing_lines = [Text(str(missing.error()), style="yellow") for missing in report.not_usable]
    told = [Text(line) for line in (report.inputs and f"inputs: {report.inputs}", report.reference) if line]
    return [table, *told, *faults, *missing_lines]


def _row(report: ParityReport, runtime: RuntimeParity, output: str) -> list[str | Text]:
    worst = runtime.worst(output)
    verdict = Text("pass", style="green") if runtime.passed else Text("FAIL", style="red")
    if runtime.not_applicable:
        verdict = Text("n/a")
    metric = [metric_value(report.metric, runtime.metric)] if report.metric is not None else []
    if worst is None:
        return [runtime.definition.name, output, str(len(runtime.cases)), "-", "-", "-", *metric, "-", verdict]
    case, comparison = worst
    return [
        runtime.definition.name,
        output,
        str(len(runtime.cases)),
        f"{comparison.max_abs_diff:.2g}",
        f"{comparison.times_float32_error:.2g}×",
        f"{list(comparison.worst_index)} of {case}",
        *metric,
        ", ".join(runtime.non_finite.values()) or "-",
        verdict,
    ]


def fault_lines(report: ParityReport, runtime: RuntimeParity) -> list[str]:
    """What is wrong in a runtime, the call that shows it again, and what explains it; nothing where it passed."""
    name = runtime.definition.name
    wrong = [case for case in runtime.cases if not case.passed]
    failures: dict[str, list[str]] = {}
    for case in wrong:
        if case.failure:
            failures.setdefault(case.failure, []).append(case.case)
    lines = [f"{name}: {_calls(cases, len(runtime.cases))}: {failure}" for failure, cases in failures.items()]
    pairs = [(case.case, comparison) for case in wrong for comparison in case.comparisons]
    for output in report.outputs:
        if differ := [(case, found.reason) for case, found in pairs if found.output == output and not found.passed]:
            (first, reason), *others = differ
            more = {0: "", 1: "; and in another call"}.get(len(others), f"; and in {len(others)} other calls")
            lines.append(f"{name}: {first}: output {output!r} {reason}{more}")
    if wrong:
        call = f"rnnexport verify {report.bundle} --runtime {name} --grid {report.grid} --seed {report.seed}"
        lines.append(f"{name}: the first of these again: {call} --case {wrong[0].number}")
    if runtime.diagnosis is not None:
        lines += [f"{name}: {line}" for line in _diagnosis(runtime.diagnosis)]
    if not runtime.metric_agrees:
        lines.append(f"{name}: the task's metric is {metric_value(report.metric, runtime.metric)}, not the reference's")
    return lines


def _calls(cases: list[str], count: int) -> str:
    """The calls of one failure."""
    if len(cases) == count > 1:
        return "every call"
    return cases[0] + (f" and {len(cases) - 1} more" if len(cases) > 1 else "")


def _diagnosis(diagnosis: Diagnosis) -> list[str]:
    lines = [FAULT_IN[diagnosis.fault_in] + (f"; first at {diagnosis.divergence}" if diagnosis.divergence else "")]
    for cause in diagnosis.causes:
        lines.append(f"cause: {cause.name}: {cause.says} (explains {percent(cause.share)}); {cause.remedy}")
    if not diagnosis.causes:
        lines.append("no known cause explains the numbers")
    return lines
