"""Latency of bundles in runtimes, of right answers only.

Every bundle in every runtime is measured in fresh processes, all of one shape side by side. What the timed calls
returned is compared with the float64 reference by the rules of `verify`: a wrong answer has no latency, so its row
carries the fault and no figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rnnexport.arguments.options import with_arguments
from rnnexport.benchmark.analysis import analyse
from rnnexport.benchmark.comparison import compare_runs, compare_within, read_report
from rnnexport.benchmark.fixed_sizes import shapes_for
from rnnexport.benchmark.interleaving import Effort
from rnnexport.benchmark.options import LatencyOptions
from rnnexport.benchmark.results import BenchReport, ConditionsWatch, Measurement
from rnnexport.benchmark.targets import Prepared, measure_shape
from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.engines.contract import Definition
from rnnexport.errors import InputError
from rnnexport.runtime.definitions import RuntimeStatus, choose_runtimes, default_definitions
from rnnexport.versions import tool_versions


def bench_with(options: LatencyOptions) -> BenchReport:
    """Measure every bundle in every runtime at every shape, and write `bench.json` into each bundle.

    Raises:
        BundleError: A bundle is missing or damaged.
        InputError: What to compare with is not there, or cannot be read.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    watch = ConditionsWatch()
    earlier = read_report(Path(options.compare_with)) if options.compare_with is not None else None
    bundles, runtimes = options.bundles or reference_bundles(), options.runtimes
    if options.against is not None:
        bundles, runtimes = _with_baseline(str(options.against), bundles, runtimes)
    definitions, not_usable = choose_runtimes(runtimes)
    if options.against is not None:
        _check_baseline(Path(options.against), bundles, definitions, not_usable)
    opened = [load_bundle(Path(path)) for path in bundles]
    wanted = [shapes_for(bundle, options.batch_sizes, options.time_steps) for bundle in opened]
    prepared = [Prepared.make(bundle, each, options.seed) for bundle, each in zip(opened, wanted, strict=True)]
    shapes = list(dict.fromkeys(shape for each in wanted for shape in each))
    effort = Effort(
        options.seconds,
        options.repetitions,
        time_limit_seconds=options.time_limit_seconds,
        memory_limit_bytes=options.memory_limit_bytes,
    )
    measurements: list[Measurement] = []

    def report() -> BenchReport:
        return BenchReport(
            seconds=options.seconds,
            measurements=measurements,
            not_usable=not_usable,
            conditions=watch.conditions(),
            notes=tuple(f"{one.path} is measured without its decoder" for one in opened if one.manifest.decoder),
            versions=tool_versions(),
        )

    for number, shape in enumerate(shapes):
        options.on_progress(f"{shape.name} ({number + 1} of {len(shapes)})")
        measurements += measure_shape([one for one in prepared if one.has(shape)], definitions, shape, effort)
        for one in prepared:  # after each shape, so that an interrupt loses nothing that was measured
            _keep(one.bundle, report())
    order = {str(one.bundle.path): number for number, one in enumerate(prepared)}
    measurements.sort(key=lambda row: order[row.bundle])  # stable, so runtimes and shapes keep their order
    compared = report()
    if earlier is not None:
        compared.comparisons += compare_runs(earlier, compared)
    if options.against is not None:
        compared.comparisons += compare_within(compared, _name(Path(options.against)))
    compared.fail_over = options.fail_over
    compared.analysis = analyse(
        measurements,
        roofline=options.roofline,
        profile=options.profile,
        seed=options.seed,
        on_progress=options.on_progress,
    )
    for one in prepared:
        _keep(one.bundle, compared)
    return compared


bench = with_arguments(LatencyOptions, bench_with, "bench")


def _keep(bundle: Bundle, report: BenchReport) -> None:
    bundle.write_evidence("bench.json", report.of(str(bundle.path)).model_dump(mode="json"))


def _with_baseline(
    against: str, bundles: Sequence[str | Path], runtimes: Sequence[str | Path]
) -> tuple[Sequence[str | Path], Sequence[str | Path]]:
    """Have the baseline measured: a folder is a bundle, another word a runtime."""
    if Path(against).is_dir():
        return list(dict.fromkeys([*map(Path, bundles), Path(against)])), runtimes
    return bundles, [*(runtimes or [definition.name for definition in default_definitions()]), against]


def _name(against: Path) -> str:
    return against.stem if against.suffix == ".toml" else str(against)


def _check_baseline(
    against: Path, bundles: Sequence[str | Path], definitions: Sequence[Definition], not_usable: Sequence[RuntimeStatus]
) -> None:
    """Refuse, before anything is measured, a baseline that cannot be, or with which nothing would be compared.

    Raises:
        RuntimeUnavailableError: The baseline is a runtime that is not usable here.
        InputError: It is all that would be measured.
    """
    for status in not_usable:
        if status.definition.name == _name(against):
            raise status.error()
    if len(bundles if against.is_dir() else definitions) == 1:
        kind = "bundle" if against.is_dir() else "runtime"
        raise InputError(f"`against={str(against)!r}` is the only {kind} that is measured; name another, too")
