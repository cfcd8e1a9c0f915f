"""Rows of benchmarks compared: a run with an earlier one, or a runtime or bundle with the others of the same run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from rnnexport.benchmark.results import SCHEMA_VERSION, BenchReport, Measurement, RowComparison
from rnnexport.benchmark.verdicts import Verdict, judge
from rnnexport.errors import InputError
from rnnexport.files.json_files import read_json

_AGAIN = "measure again with: rnnexport bench --json"


def read_report(path: Path) -> BenchReport:
    """Read a `bench.json`, or what `rnnexport bench --json` printed.

    Raises:
        InputError: It is missing, of another schema version, damaged, or something else.
    """
    document = read_json(path)
    if not isinstance(document, dict) or "measurements" not in document:
        raise InputError(f"{path} is no result of rnnexport bench; {_AGAIN}")
    if (version := document.get("schema_version")) != SCHEMA_VERSION:
        raise InputError(f"{path} is schema {version}, this version of rnnexport reads {SCHEMA_VERSION}; {_AGAIN}")
    try:
        return BenchReport.model_validate(document)
    except ValidationError as exc:
        where = ".".join(str(part) for part in exc.errors()[0]["loc"])
        raise InputError(f"{path} is damaged at {where!r}; {_AGAIN}") from exc


def compare_runs(before: BenchReport, after: BenchReport) -> list[RowComparison]:
    """Compare each row of `after` with the row of the same bundle, runtime and shape in `before`.

    Where each run measured one bundle only, they are taken for two versions of one, whatever their names.
    """
    one_each = all(len({row.bundle for row in report.measurements}) == 1 for report in (before, after))

    def key(row: Measurement) -> tuple[str, str, int, int]:
        bundle = "" if one_each else Path(row.bundle).name
        return bundle, row.definition.name, row.batch_size, row.time_steps

    earlier = {key(row): row for row in before.measurements}
    changed = _changes(before, after)
    return [_compare(earlier.get(key(row)), row, changed) for row in after.measurements if not row.not_applicable]


def compare_within(report: BenchReport, baseline: str) -> list[RowComparison]:
    """Compare each row with that of the runtime or bundle `baseline` at the same shape.

    Raises:
        InputError: `baseline` is not among the rows.
    """
    rows = [row for row in report.measurements if not row.not_applicable]
    by_runtime = any(row.definition.name == baseline for row in rows)

    def key(row: Measurement) -> tuple[str, int, int]:
        return row.bundle if by_runtime else row.definition.name, row.batch_size, row.time_steps

    def is_baseline(row: Measurement) -> bool:
        return baseline == (row.definition.name if by_runtime else row.bundle)

    known = {key(row): row for row in rows if is_baseline(row)}
    if not known:
        raise InputError(f"`against={baseline!r}` is neither a runtime nor a bundle that was measured")
    return [_compare(known.get(key(row)), row, []) for row in rows if not is_baseline(row)]


def _compare(before: Measurement | None, after: Measurement, changes: Sequence[str]) -> RowComparison:
    verdict = _verdict(before, after)
    if changes and verdict.reason is None:
        verdict = verdict.model_copy(update={"outcome": "cannot tell", "reason": "; ".join(changes)})
    return RowComparison(
        before=before.name if before else "",
        after=after.name,
        batch_size=after.batch_size,
        time_steps=after.time_steps,
        verdict=verdict,
    )


def _verdict(before: Measurement | None, after: Measurement) -> Verdict:
    if before is None or not (before.repetitions or before.failure):
        return Verdict(outcome="cannot tell", reason="there is no such row to compare with")
    for when, row in (("before", before), ("after", after)):
        if row.failure:
            return Verdict(outcome="cannot tell", reason=f"no figures {when}: {row.failure}")
    return judge(before.repetitions, after.repetitions)


def _changes(before: BenchReport, after: BenchReport) -> list[str]:
    """Say what makes two runs two machines."""
    first, second = before.conditions, after.conditions
    if (first.machine, first.cores) == (second.machine, second.cores):
        return []
    return [f"another machine: {first.machine} with {first.cores} cores, then {second.machine} with {second.cores}"]
