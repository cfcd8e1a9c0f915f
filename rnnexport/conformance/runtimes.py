"""Every runtime on the same examples, and the minimal cases of what went wrong."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rnnexport.conformance.cases import folder_name, write_case
from rnnexport.conformance.causes import Cause
from rnnexport.conformance.drawing import import_hypothesis
from rnnexport.conformance.examples import GRAPH_VALUES, NODE_VALUES, Example
from rnnexport.conformance.features import feature_rows
from rnnexport.conformance.judging import Judge
from rnnexport.conformance.results import ConformanceReport, Disagreement, RuntimeConformance
from rnnexport.conformance.search import CauseSearch, search
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition
from rnnexport.errors import InputError
from rnnexport.files.destinations import check_new_folder
from rnnexport.files.json_files import read_json
from rnnexport.runtime.definitions import choose_runtimes, runtime_status
from rnnexport.versions import tool_versions

_REPORT = "conformance.json"
_ORDER = ("crash", "wrong", "refused")


def conformance(
    runtimes: Sequence[str | Path],
    *,
    examples: int = 50,
    seed: int = 0,
    out: Path | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ConformanceReport:
    """Draw small LSTM and GRU graphs and compare each runtime with the operator specification.

    Args:
        runtimes: Names of runtimes or paths of definitions that run ONNX files; at least one.
        examples: How many different examples each runtime is asked, besides those that shrinking needs.
        seed: Of all that is drawn; one seed gives the same examples with the same version of hypothesis.
        out: A folder for the minimal test cases, `OUT/RUNTIME/CASE/`, and the report; replaced if it holds a report.
        on_progress: Is told what is going on.

    Returns:
        Counts for each runtime and feature, and what was found.

    Raises:
        InputError: hypothesis is not installed, a runtime is unknown or runs no ONNX files, or `out` is in use.
        RuntimeUnavailableError: None of the runtimes is usable.
    """
    if examples < 1:
        raise InputError(f"examples is {examples}; draw at least 1")
    if not runtimes:
        raise InputError("no runtime is named; say which with `runtimes`")
    import_hypothesis()
    usable, not_usable = choose_runtimes(runtimes)
    for definition in usable:
        if reads_source(definition):
            raise InputError(f"runtime {definition.name!r} runs source models, not ONNX files; choose another")
    if out:
        _make_room(out)
    report = ConformanceReport(
        examples=examples,
        seed=seed,
        versions=tool_versions(),
        runtimes=[_check(definition, examples, seed, out, on_progress) for definition in usable],
        not_usable=not_usable,
    )
    if out:
        (out / _REPORT).write_text(report.model_dump_json(indent=1), encoding="utf-8")
    return report


def _make_room(out: Path) -> None:
    """Make an empty folder, in place of an earlier report and its cases but of nothing else."""
    check_new_folder(out, "out")
    ours = {_REPORT, *_reported(out / _REPORT)}
    there = [*out.iterdir()] if out.exists() else []
    if foreign := sorted(path.name for path in there if path.name not in ours):
        raise InputError(f"{out} holds {foreign[0]!r}, which is of no earlier report; name another folder with `out`")
    for path in there:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    out.mkdir(parents=True, exist_ok=True)


def _reported(path: Path) -> list[str]:
    """The runtimes of an earlier report, each of which has a folder."""
    if not path.exists():
        return []
    try:
        return [each.definition.name for each in ConformanceReport.model_validate(read_json(path)).runtimes]
    except ValidationError as exc:
        raise InputError(f"{path} is no report of rnnexport conformance; name another folder with `out`") from exc


def _check(
    definition: Definition, examples: int, seed: int, out: Path | None, on_progress: Callable[[str], None]
) -> RuntimeConformance:
    with contextlib.closing(Judge(definition)) as judge:
        found = search(judge, examples, seed, lambda what: on_progress(f"{definition.name}: {what}"))
    version = runtime_status(definition).availability.version
    findings = []
    for number, cause in enumerate(sorted(found.causes, key=lambda each: _ORDER.index(each.outcome.kind)), 1):
        finding = _finding(cause, found)
        if cause.outcome.kind != "refused":
            finding.reproduced = _happens_again(cause, definition)
            if out:
                finding.folder = f"{definition.name}/{folder_name(number, cause)}"
                write_case(out / finding.folder, cause, definition, version)
        findings.append(finding)
    counts = Counter(outcome.kind for outcome in found.outcomes.values())
    return RuntimeConformance(
        definition=definition, version=version, counts=counts, features=feature_rows(found), findings=findings
    )


def _happens_again(cause: Cause, definition: Definition) -> bool:
    """In a fresh process, which has run nothing else."""
    with contextlib.closing(Judge(definition)) as judge:
        return judge(cause.example).resembles(cause.outcome)


def _finding(cause: Cause, found: CauseSearch) -> Disagreement:
    return Disagreement(
        kind=cause.outcome.kind,
        cause=str(cause),
        message=cause.outcome.message,
        drawn=sum(
            cause.explains(example) for example, outcome in found.outcomes.items() if outcome.kind == cause.outcome.kind
        ),
        example=_described(cause.example),
    )


def _described(example: Example) -> dict[str, Any]:
    """What differs from the simplest graph and call; the operator and the sizes always."""
    sizes = {"batch", "time", "input_size"}
    graph = {
        name: getattr(example, name)
        for name, values in GRAPH_VALUES.items()
        if name in sizes or getattr(example, name) != values[0]
    }
    nodes = [
        {
            name: getattr(node, name)
            for name, values in NODE_VALUES.items()
            if name in ("op_type", "hidden_size") or getattr(node, name) != values[0]
        }
        for node in example.nodes
    ]
    return {"nodes": nodes, **graph}
