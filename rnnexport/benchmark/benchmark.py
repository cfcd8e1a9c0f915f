"""Latency of bundles in runtimes, of right answers only.

Every bundle in every runtime is measured in fresh processes, all of one shape side by side. What the timed calls
returned is compared with the float64 reference by the rules of `verify`: a wrong answer has no latency, so its row
carries the fault and no figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rnnexport.benchmark.analysis import analyse
from rnnexport.benchmark.comparison import compare_runs, compare_within, read_report
from rnnexport.benchmark.interleaving import Effort
from rnnexport.benchmark.results import BenchReport, ConditionsWatch, Measurement
from rnnexport.benchmark.targets import Prepared, measure_shape
from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.parity.grid import CaseShape
from rnnexport.runtime.definitions import choose_runtimes
from rnnexport.versions import tool_versions

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
    roofline: bool = False,
    profile: bool = False,
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
        roofline: Whether to probe the machine; `analysis` then says how near each row comes to its limit.
        profile: Whether to run each row again under its runtime's profiler; `analysis` then says where the time goes.
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
    prepared = [Prepared.make(load_bundle(Path(path)), shapes, seed) for path in bundles or reference_bundles()]
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
        measurements += measure_shape(prepared, definitions, shape, effort)
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
    compared.analysis = analyse(measurements, roofline=roofline, profile=profile, seed=seed, on_progress=on_progress)
    return compared


def _with_baseline(
    against: str, bundles: Sequence[str | Path], runtimes: Sequence[str | Path]
) -> tuple[Sequence[str | Path], Sequence[str | Path]]:
    """Have the baseline measured: a folder is a bundle, another word a runtime."""
    if Path(against).is_dir():
        return list(dict.fromkeys([*map(Path, bundles), Path(against)])), runtimes
    return bundles, [*runtimes, against] if runtimes else runtimes
