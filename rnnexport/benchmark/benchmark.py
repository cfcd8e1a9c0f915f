"""Latency of bundles in runtimes, of right answers only.

Every bundle in every runtime is measured in fresh processes, all of one shape side by side. What the timed calls
returned is compared with the float64 reference by the rules of `verify`: a wrong answer has no latency, so its row
carries the fault and no figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from rnnexport.benchmark.comparison import compare_runs, compare_within, read_report
from rnnexport.benchmark.interleaving import Effort, Subject, measure_interleaved
from rnnexport.benchmark.results import BenchReport, ConditionsWatch, Measurement
from rnnexport.benchmark.timing import JOB
from rnnexport.bundle import Bundle, TensorInfo, load_bundle, reference_bundles
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import RnnexportError
from rnnexport.parity.compare import Reference, compare
from rnnexport.parity.grid import CaseShape, draw_feeds, symbol_sizes
from rnnexport.parity.oracle import feeds_for, references
from rnnexport.parity.verify import tolerance_for
from rnnexport.runtime import choose_runtimes
from rnnexport.versions import tool_versions
from rnnexport.worker import Arrays

DEFAULT_SECONDS = 3.0
DEFAULT_REPETITIONS = 2


def bench(
    bundles: Sequence[str | Path] = (),
    runtimes: Sequence[str | Path] = (),
    *,
    batch_sizes: Sequence[int] = (1,),
    time_steps: Sequence[int] = (25,),
    seconds: float = DEFAULT_SECONDS,
    repetitions: int = DEFAULT_REPETITIONS,
    compare_with: str | Path | None = None,
    against: str | Path | None = None,
    fail_over: float | None = None,
    time_limit_seconds: float = 600,
    memory_limit_bytes: int | None = None,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Measure every bundle in every runtime at every shape, and write `bench.json` into each bundle.

    Args:
        bundles: Exported folders; by default the two reference bundles.
        runtimes: Names or `.toml` files; by default every usable float32 runtime.
        batch_sizes: Rows of a call.
        time_steps: Steps of a series.
        seconds: How long each row is measured, all repetitions together, after the warm-up of each.
        repetitions: Fresh processes for each row.
        compare_with: An earlier `bench.json`, whose rows the new ones are compared with.
        against: A runtime or bundle of this run, which the others are compared with.
        fail_over: The share by which a compared row may be slower; beyond, the report's exit status is 1.
        time_limit_seconds: For loading, and for each window of samples; what takes longer counts as hanging.
        memory_limit_bytes: Of each process; by default most of what is free.
        seed: Of what the inputs are drawn with.
        on_progress: Is told what is measured next.

    Raises:
        BundleError: A bundle is missing or damaged.
        InputError: What to compare with is not there, or cannot be read.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    watch = ConditionsWatch()
    earlier = read_report(Path(compare_with)) if compare_with is not None else None
    if against is not None:
        bundles, runtimes = _with_baseline(str(against), bundles or reference_bundles(), runtimes)
    definitions, not_usable = choose_runtimes(runtimes)
    shapes = [CaseShape(b, t, from_series=True, mixed_lengths=False) for b in batch_sizes for t in time_steps]
    prepared = [_Prepared.make(load_bundle(Path(path)), shapes, seed) for path in bundles or reference_bundles()]
    effort = Effort(seconds, repetitions, time_limit_seconds=time_limit_seconds, memory_limit_bytes=memory_limit_bytes)
    measurements: list[Measurement] = []

    def report(bundle: Bundle | None = None) -> BenchReport:
        rows = [row for row in measurements if bundle is None or row.bundle == str(bundle.path)]
        return BenchReport(
            seconds=seconds,
            measurements=rows,
            not_usable=not_usable,
            conditions=watch.conditions(),
            versions=tool_versions(),
        )

    for number, shape in enumerate(shapes):
        on_progress(f"{shape.name} ({number + 1} of {len(shapes)})")
        measurements += _measure(prepared, definitions, shape, effort)
        for one in prepared:  # after each shape, so that an interrupt loses nothing that was measured
            one.bundle.write_evidence("bench.json", report(one.bundle).model_dump(mode="json"))
    order = {str(one.bundle.path): number for number, one in enumerate(prepared)}
    measurements.sort(key=lambda row: order[row.bundle])  # stable, so runtimes and shapes keep their order
    compared = report()
    if earlier is not None:
        compared.comparisons += compare_runs(earlier, compared)
    if against is not None:
        path = Path(against)
        compared.comparisons += compare_within(compared, path.stem if path.suffix == ".toml" else str(path))
    compared.fail_over = fail_over
    return compared


def _with_baseline(
    against: str, bundles: Sequence[str | Path], runtimes: Sequence[str | Path]
) -> tuple[Sequence[str | Path], Sequence[str | Path]]:
    """Have the baseline measured: a folder is a bundle, another word a runtime."""
    if Path(against).is_dir():
        return list(dict.fromkeys([*map(Path, bundles), Path(against)])), runtimes
    return bundles, [*runtimes, against] if runtimes else runtimes


@dataclass(frozen=True)
class _Prepared:
    """A bundle with the feeds of every shape and what they should give."""

    bundle: Bundle
    calls: Mapping[CaseShape, tuple[Feeds, dict[str, Reference]]]
    refused: Mapping[CaseShape, str]
    """Why a shape has none."""

    @classmethod
    def make(cls, bundle: Bundle, shapes: Sequence[CaseShape], seed: int) -> _Prepared:
        generator = np.random.default_rng(seed)
        feeds: dict[CaseShape, Feeds] = {}
        refused: dict[CaseShape, str] = {}
        for shape in shapes:
            if reason := _why_refused(bundle.manifest.inputs, shape):
                refused[shape] = reason
            else:
                feeds[shape] = draw_feeds(bundle.manifest.inputs, bundle.series, shape, generator)
        try:
            expected = dict(zip(feeds, references(bundle, list(feeds.values())), strict=True)) if feeds else {}
        except RnnexportError:  # one of the shapes is to blame: find out which
            expected = {}
            for shape, case in feeds.items():
                try:
                    (expected[shape],) = references(bundle, [case])
                except RnnexportError as exc:
                    refused[shape] = f"the model refuses this shape: {exc}"
        return cls(bundle, {shape: (feeds[shape], expected[shape]) for shape in expected}, refused)


def _why_refused(inputs: Sequence[TensorInfo], shape: CaseShape) -> str | None:
    """Say which size of `shape` the inputs cannot have, or `None`."""
    fixed = {size for info in inputs for size in info.shape if isinstance(size, int)} | {1}
    for what in ("batch_size", "time_steps"):
        size = getattr(shape, what)
        is_fixed = symbol_sizes(inputs, shape) == symbol_sizes(inputs, replace(shape, **{what: size + 1}))
        if is_fixed and size not in fixed:
            shapes = ", ".join(f"{info.name} {list(info.shape)}" for info in inputs)
            return f"{what} {size} is not possible: it is fixed in this model, whose inputs are {shapes}"
    return None


def _measure(
    prepared: Sequence[_Prepared], definitions: Sequence[Definition], shape: CaseShape, effort: Effort
) -> list[Measurement]:
    """Measure one shape in every bundle and runtime, side by side."""
    rows: list[Measurement] = []
    subjects: list[Subject] = []
    for one in prepared:
        for definition in definitions:
            row = Measurement(
                bundle=str(one.bundle.path),
                definition=definition,
                batch_size=shape.batch_size,
                time_steps=shape.time_steps,
                not_applicable=one.bundle.why_not_applicable(definition),
                failure=one.refused.get(shape),
            )
            rows.append(row)
            if not (row.not_applicable or row.failure):
                subjects.append(subject_for(one.bundle, definition, *one.calls[shape]))
    figures = iter(measure_interleaved(subjects, effort))
    return [row if row.not_applicable or row.failure else row.with_figures(next(figures)) for row in rows]


def subject_for(bundle: Bundle, definition: Definition, feeds: Feeds, expected: dict[str, Reference]) -> Subject:
    """Return the bundle's sequence graph in a runtime, as what is measured."""
    arguments = {"model": str(bundle.file_for(definition)), "definition": definition.model_dump()}
    (own_feeds,) = feeds_for(definition, [feeds])
    return Subject(JOB, arguments, own_feeds, partial(fault, bundle, definition, expected))


def fault(bundle: Bundle, definition: Definition, expected: dict[str, Reference], outputs: Arrays) -> str | None:
    """Say what is wrong with the outputs of a call, or `None`."""
    tolerance = tolerance_for(bundle, definition.precision)
    comparisons = [compare(name, outputs[name], reference, tolerance) for name, reference in expected.items()]
    wrong = [f"output {c.output!r} {c.reason}" for c in comparisons if not c.passed]
    return f"wrong answer: {wrong[0]}" if wrong else None
