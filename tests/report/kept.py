"""Evidence as commands would leave it in a bundle, made up at once, so that a test need not measure anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from rnnexport.benchmark.analysis import Analysis
from rnnexport.benchmark.interleaving import Repetition
from rnnexport.benchmark.limits import Roofline, RooflineRow
from rnnexport.benchmark.machine import Machine, Rate
from rnnexport.benchmark.mix import Mix, MixRow
from rnnexport.benchmark.results import BenchReport, Conditions, Measurement
from rnnexport.benchmark.scenarios import ScenarioReport, ScenarioRow
from rnnexport.benchmark.server import Server, ServerRow, Trial
from rnnexport.benchmark.streaming import Streaming, StreamingRow
from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.manifest import Tolerance
from rnnexport.engines.contract import Definition
from rnnexport.linting.results import Finding, LintReport
from rnnexport.parity.compare import Comparison
from rnnexport.parity.drift import DriftReport, RuntimeDrift
from rnnexport.parity.results import CaseVerdict, ParityReport, RuntimeParity
from rnnexport.tuning.results import Candidate, Shape, TuneReport

CONDITIONS = Conditions(machine="a processor", cores=2, load_average=0.1)
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
        conditions=CONDITIONS,
        analysis=Analysis(roofline=Roofline(machine=machine, rows=bounds)),
        versions=VERSIONS,
    )


def load(scenario: Any, rows: Sequence[ScenarioRow]) -> ScenarioReport[ScenarioRow]:
    return ScenarioReport(
        scenario=scenario.name,
        timed_region=scenario.timed_region,
        settings=asdict(scenario),
        rows=list(rows),
        not_usable=[],
        conditions=CONDITIONS,
        versions=VERSIONS,
    )


def streaming(bundle: str, runtimes: Sequence[str]) -> ScenarioReport[ScenarioRow]:
    """A clock of 100 steps in a second: 8 streams take its 10 ms in the first runtime, half as many in the next."""

    def row(name: str, slowness: int) -> StreamingRow:
        tried: dict[int, int | None] = {n: int(1e7 * slowness * n / 9) for n in (1, 2, 4, 8, 16)}
        figures: dict[str, Any] = {"time_steps": 1, "calls": 700, "p50_ns": 10**6, "p99_ns": tried[1]}
        return StreamingRow(
            bundle=bundle, definition=definition(name), streams=8 // slowness, streams_tried=tried, **figures
        )

    return load(Streaming(rate=100), [row(name, 2**number) for number, name in enumerate(runtimes)])


def server(bundle: str, runtimes: Sequence[str]) -> ScenarioReport[ScenarioRow]:
    """A limit of 10 ms, which 400 requests in a second hold."""
    trials = [
        Trial(rate=r, answered=700, p50_ns=10**6, p99_ns=int(2e4 * r), mean_batch_size=1, busy=r / 1000)
        for r in (100, 200, 400, 800)
    ]
    rows = [ServerRow(bundle=bundle, definition=definition(name), best=trials[2], trials=trials) for name in runtimes]
    return load(Server(p99_limit_ms=10), rows)


def mix(bundle: str, runtimes: Sequence[str]) -> ScenarioReport[ScenarioRow]:
    """A new length takes three times as long in the first runtime; in the last nothing could be measured."""
    times: dict[str, Any] = {"p50_ns": 10**6, "p99_ns": 3 * 10**6, "p50_met_length_ns": 10**6}
    measured = [
        MixRow(
            bundle=bundle,
            definition=definition(name),
            calls=700,
            lengths=(7, 15.5, 24),
            p50_new_length_ns=3 * 10**6 // (number + 1),
            series_per_second=900.0,
            **times,
        )
        for number, name in enumerate(runtimes[:-1])
    ]
    failed = ScenarioRow(bundle=bundle, definition=definition(runtimes[-1]), failure="the process ended")
    return load(Mix(), [*measured, failed])


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


RUNTIMES = ("ort-cpu", "openvino-cpu", "torch-cpu")


def fill(bundle: Bundle, runtimes: Sequence[str] = RUNTIMES) -> None:
    """Leave in a bundle what the commands would; the first runtime is clearly the fastest, and all are right."""
    path = str(bundle.path)
    times = {name: 100.0 * 2**number for number, name in enumerate(runtimes)}
    keep(bundle, "parity.json", parity(path, dict.fromkeys(runtimes, 1.5)))
    keep(bundle, "bench.json", bench(path, times))
    keep(bundle, "drift.json", drift(path, runtimes))
    keep(bundle, "tune.json", tune(path, runtimes[0]))
    keep(bundle, "lint.json", lint(f"{path}/model.onnx"))


def fill_loads(bundle: Bundle, runtimes: Sequence[str] = RUNTIMES) -> None:
    """Leave what the other scenarios of bench would."""
    path = str(bundle.path)
    keep(bundle, "bench-streaming.json", streaming(path, runtimes))
    keep(bundle, "bench-server.json", server(path, runtimes))
    keep(bundle, "bench-mix.json", mix(path, runtimes))


def keep(bundle: Bundle, name: str, report: Any) -> None:
    bundle.write_evidence(name, report.model_dump(mode="json"))
