"""Evidence as commands would leave it in a bundle, made up at once, so that a test need not measure anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnexport.benchmark.analysis import Analysis
from rnnexport.benchmark.interleaving import Repetition
from rnnexport.benchmark.limits import Roofline, RooflineRow
from rnnexport.benchmark.machine import Machine, Rate
from rnnexport.benchmark.results import BenchReport, Conditions, Measurement
from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.manifest import Tolerance
from rnnexport.engines.contract import Definition
from rnnexport.linting.results import Finding, LintReport
from rnnexport.parity.compare import Comparison
from rnnexport.parity.drift import DriftReport, RuntimeDrift
from rnnexport.parity.verdicts import CaseVerdict, ParityReport, RuntimeParity
from rnnexport.tuning.results import Candidate, Shape, TuneReport

MACHINE = {"cpu": "a processor", "cores": "2", "features": "avx2"}
VERSIONS = {"rnnexport": "0.1.0", "onnxruntime": "1.32.0"}
TOLERANCE = Tolerance(atol=1e-5, rtol=1.3e-6)


def definition(name: str) -> Definition:
    return Definition(name=name, engine="onnxruntime", precision="float32")


def parity(bundle: str, errors: dict[str, float], outputs: Sequence[str] = ("logits",), **more: Any) -> ParityReport:
    """By runtime the largest error, as a multiple of float32's own; a call with one above 4 is wrong."""

    def case(number: int, times: float) -> CaseVerdict:
        compared = [
            Comparison(output=o, dtype="float32", passed=times <= 4, max_abs_diff=times * 1e-6, float32_error=1e-6)
            for o in outputs
        ]
        return CaseVerdict(number=number, case=f"case {number}", comparisons=compared)

    def runtime(name: str, times: float) -> RuntimeParity:
        cases = [case(0, times / 2), case(1, times)]
        return RuntimeParity(definition=definition(name), tolerance=TOLERANCE, cases=cases, metric=0.992)

    return ParityReport(
        bundle=bundle,
        seed=0,
        grid="default",
        outputs=list(outputs),
        metric="accuracy",
        reference_metric=0.992,
        runtimes=[runtime(name, times) for name, times in errors.items()],
        not_usable=[],
        versions=VERSIONS,
        machine=MACHINE,
        **more,
    )


def bench(bundle: str, microseconds: dict[str, float], batch_sizes: Sequence[int] = (1,), seed: int = 0) -> BenchReport:
    """By runtime the latency, of quiet windows, with a roofline."""
    generator = np.random.default_rng(seed)

    def repetition(nanoseconds: float) -> Repetition:
        windows = [[int(n) for n in nanoseconds * generator.lognormal(0, 0.01, 40)] for _ in range(8)]
        return Repetition(windows_ns=windows, pulses_ns=[5e4] * 8, first_call_ns=10**6, peak_memory_bytes=10**8)

    rows = [
        Measurement(
            bundle=bundle,
            definition=definition(name),
            batch_size=batch_size,
            time_steps=25,
            repetitions=[repetition(1000 * each * batch_size) for _ in range(2)],
        )
        for batch_size in batch_sizes
        for name, each in microseconds.items()
    ]
    rate = Rate(one=1e10, all=2e10)
    machine = Machine(cores=2, flop_per_second={"float32": rate}, levels=(), fork_join_ns=1000.0)
    bounds = [
        RooflineRow(
            bundle=bundle,
            runtime=row.definition.name,
            batch_size=row.batch_size,
            time_steps=25,
            median_ns=row.median_ns or 1,
            fastest_ns=min(row.samples_ns),
            bound_ns=2e4,
            limit="arithmetic",
            int8_bound_ns=1e4,
            all_cores_bound_ns=1e4,
        )
        for row in rows
    ]
    return BenchReport(
        seconds=1,
        measurements=rows,
        not_usable=[],
        conditions=Conditions(machine="a processor", cores=2, load_average=0.1),
        analysis=Analysis(roofline=Roofline(machine=machine, rows=bounds)),
        versions=VERSIONS,
    )


def drift(bundle: str, runtimes: Sequence[str], *, bounded: bool = True) -> DriftReport:
    errors = [(step, 1e-7 * step**0.1) for step in (1, 10, 100, 1000)]
    followed = [
        RuntimeDrift(definition=definition(name), tolerance=TOLERANCE, errors=errors, bounded=bounded)
        for name in runtimes
    ]
    return DriftReport(
        bundle=bundle,
        steps=1000,
        inputs="the bundle's own series",
        seed=0,
        runtimes=followed,
        not_usable=[],
        versions=VERSIONS,
        machine=MACHINE,
    )


def tune(bundle: str, runtime: str = "ort-cpu") -> TuneReport:
    def candidate(form: str, **more: Any) -> Candidate:
        return Candidate(form=form, definition=definition(runtime), lossy="int8" in form, bytes=60_000, **more)

    return TuneReport(
        bundle=bundle,
        purpose="latency",
        budget="max-error=0.01",
        shapes=[Shape(batch_size=1, time_steps=25)],
        judged_on="half of the bundle's own series",
        candidates=[
            candidate("as exported", times_plain=1.0, medians_ns=[1e5], error=3e-6),
            candidate("scan, int8", times_plain=2.0, medians_ns=[5e4], error=4e-3, outcome="chosen"),
            candidate("scan", times_plain=0.7, medians_ns=[1.4e5], error=3e-6, outcome="dropped", reason="too slow"),
            candidate("unrolled", outcome="not measured", reason="no time was left to measure it"),
        ],
        plan="plan.toml",
        machine=MACHINE,
        versions=VERSIONS,
    )


def lint(path: str) -> LintReport:
    finding = Finding(
        rule="a-rule",
        severity="warning",
        title="a title",
        where="node 1",
        what="something",
        consequences={"OpenVINO": "is wrong"},
        repairable=False,
    )
    return LintReport(path=path, findings=[finding], rules=18, layers=1)


def fill(bundle: Bundle, runtimes: Sequence[str] = ("ort-cpu", "openvino-cpu", "torch-cpu")) -> None:
    """Leave in a bundle what all commands would; the first runtime is clearly the fastest, and all are right."""
    path = str(bundle.path)
    times = {name: 100.0 * 2**number for number, name in enumerate(runtimes)}
    keep(bundle, "parity.json", parity(path, dict.fromkeys(runtimes, 1.5)))
    keep(bundle, "bench.json", bench(path, times))
    keep(bundle, "drift.json", drift(path, runtimes))
    keep(bundle, "tune.json", tune(path, runtimes[0]))
    keep(bundle, "lint.json", lint(f"{path}/model.onnx"))


def keep(bundle: Bundle, name: str, report: Any) -> None:
    bundle.write_evidence(name, report.model_dump(mode="json"))
