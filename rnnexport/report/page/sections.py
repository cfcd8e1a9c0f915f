"""The page's sections below the summary: of each bundle what was measured, what it shows, and the figures behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import RenderableType

from rnnexport.bundle.evidence import KeptEvidence
from rnnexport.report.drift import drift_tables
from rnnexport.report.latency import latency_tables
from rnnexport.report.lint import lint_tables
from rnnexport.report.page import figures, load_figures
from rnnexport.report.page.collected import Collected
from rnnexport.report.page.page_figure import PageFigure
from rnnexport.report.parity import parity_tables
from rnnexport.report.plain_text import PlainTable, plain_tables
from rnnexport.report.profile import profile_tables
from rnnexport.report.roofline import roofline_tables
from rnnexport.report.scenarios import scenario_tables
from rnnexport.report.training import training_table
from rnnexport.report.tune import tune_tables

_NON_FINITE = (
    "NaN, Inf: what becomes of each that one series of a call holds. Kept: the answer is not finite. Swallowed: the "
    "answer is finite, as if nothing were wrong with the input. Spreads: other series of the call lose theirs, too."
)


@dataclass(frozen=True)
class Part:
    """What a section says of one bundle."""

    name: str
    missing: Sequence[str] = ()
    """The commands that would fill it, where there is nothing to show."""
    warning: str = ""
    figures: Sequence[PageFigure] = ()
    tables: Sequence[PlainTable | str] = ()


@dataclass(frozen=True)
class Section:
    """One question, answered for each bundle."""

    id: str
    title: str
    parts: list[Part] = field(default_factory=list)


_Draw = Callable[[Any, str], list[PageFigure]]


def sections(collected: Sequence[Collected]) -> list[Section]:
    """Every section, in the page's order."""
    return [
        Section("error-by-output", "Error by output", [_parity(each, n) for n, each in enumerate(collected)]),
        Section("error-over-time", "Error over time", [_drift(each, n) for n, each in enumerate(collected)]),
        Section("latency", "Latency", [_latency(each, n) for n, each in enumerate(collected)]),
        Section("loads", "Streams, requests, mixed lengths", [_loads(each, n) for n, each in enumerate(collected)]),
        Section("roofline", "What the machine could do", [_roofline(each, n) for n, each in enumerate(collected)]),
        Section("plan", "The plan, and what else was tried", [_tune(each, n) for n, each in enumerate(collected)]),
        Section("training", "Training", [_training(each, n) for n, each in enumerate(collected)]),
        Section("graph", "What the graph is like", [_graph(each) for each in collected]),
    ]


def _part(
    collected: Collected, evidence: KeptEvidence[Any], command: str, draw: _Draw, tables: Any, prefix: str
) -> Part:
    if evidence.report is None:
        return Part(collected.name, [f"{command} {collected.bundle.path}"], warning_of(evidence))
    return Part(
        collected.name,
        warning=warning_of(evidence),
        figures=draw(evidence.report, prefix),
        tables=plain_tables(tables(evidence.report)),
    )


def warning_of(evidence: KeptEvidence[Any]) -> str:
    """Say what is wrong with a file of evidence."""
    if evidence.state == "damaged":
        return f"{evidence.name} cannot be read."
    return f"Stale: {evidence.name} is of an earlier export of this bundle." if evidence.state == "stale" else ""


def _parity(each: Collected, number: int) -> Part:
    part = _part(each, each.parity, "rnnexport verify", figures.errors_by_output, parity_tables, f"parity-{number}")
    explained = [
        replace(table, caption=_NON_FINITE) if isinstance(table, PlainTable) and "NaN, Inf" in table.headings else table
        for table in part.tables
    ]
    return replace(part, tables=explained)


def _drift(each: Collected, number: int) -> Part:
    return _part(each, each.drift, "rnnexport drift", figures.errors_over_time, drift_tables, f"drift-{number}")


def _latency(each: Collected, number: int) -> Part:
    part = _part(each, each.bench, "rnnexport bench", figures.latencies, latency_tables, f"latency-{number}")
    throughput = each.throughput.report
    if throughput is None:
        return part
    return Part(
        part.name,
        part.missing,
        part.warning or warning_of(each.throughput),
        [*part.figures, *figures.throughputs(throughput, f"throughput-{number}")],
        [*part.tables, *plain_tables(latency_tables(throughput))],
    )


def _loads(each: Collected, number: int) -> Part:
    kept: list[tuple[KeptEvidence[Any], _Draw]] = [
        (each.streaming, load_figures.streams),
        (each.server, load_figures.requests),
        (each.mix, load_figures.mixed_lengths),
    ]
    there = [(evidence, draw) for evidence, draw in kept if evidence.state != "none"]
    if not there:
        bench = f"rnnexport bench {each.bundle.path} --scenario"
        streaming = [f"{bench} streaming"] if each.bundle.manifest.step else []
        return Part(each.name, [*streaming, f"{bench} server --p99-limit 10", f"{bench} mix"])
    reports = [(evidence.report, draw) for evidence, draw in there if evidence.report is not None]
    return Part(
        each.name,
        warning=" ".join(filter(None, (warning_of(evidence) for evidence, _ in there))),
        figures=[figure for n, (report, draw) in enumerate(reports) for figure in draw(report, f"loads-{number}-{n}")],
        tables=[table for report, _ in reports for table in plain_tables(scenario_tables(report))],
    )


def _roofline(each: Collected, number: int) -> Part:
    bench = each.bench.report
    roofline = bench.analysis.roofline if bench else None
    profiles = plain_tables(profile_tables(bench.analysis.profiles)) if bench else []
    if roofline is None:
        return Part(each.name, [f"rnnexport bench {each.bundle.path} --roofline"], tables=profiles)
    return Part(
        each.name,
        warning=warning_of(each.bench),
        figures=figures.bounds(roofline, f"roofline-{number}"),
        tables=[*plain_tables(roofline_tables(roofline)), *profiles],
    )


def _tune(each: Collected, number: int) -> Part:
    return _part(each, each.tune, "rnnexport tune", figures.pareto, tune_tables, f"tune-{number}")


def _training(each: Collected, number: int) -> Part:
    report = each.training.report
    if report is None:
        source = each.bundle.manifest.source.description
        kept = f"The bundle keeps no learning curves: it was made from {source}, or by an earlier version of rnnexport."
        return Part(each.name, tables=[kept])
    tables = plain_tables([training_table([report])])
    return Part(each.name, figures=figures.learning(report, f"training-{number}"), tables=tables)


def _graph(each: Collected) -> Part:
    manifest = each.bundle.manifest
    tensors = [
        [kind, info.name, info.dtype, f"[{', '.join(map(str, info.shape))}]", info.role]
        for kind, infos in (("input", manifest.inputs), ("output", manifest.outputs))
        for info in infos
    ]
    tables: list[PlainTable | str] = [PlainTable("Inputs and outputs", ["", "name", "type", "shape", "role"], tensors)]
    if manifest.runtimes:
        found = [*manifest.runtimes.items()]
        tables.append(
            PlainTable("Conformance: what each runtime made of it at the export", ["runtime", "finding"], found)
        )
    if manifest.reference is not None:
        tables.append(manifest.reference.summary)
    report = each.lint.report
    if report is None:
        return Part(each.name, [f"rnnexport lint {each.bundle.path}"], warning_of(each.lint), tables=tables)
    found_by_lint: list[RenderableType] = lint_tables(report)
    return Part(each.name, warning=warning_of(each.lint), tables=[*tables, *plain_tables(found_by_lint)])
