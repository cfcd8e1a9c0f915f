"""All that one bundle holds, read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexport.benchmark.mix import MixRow
from rnnexport.benchmark.results import BenchReport
from rnnexport.benchmark.scenarios import ScenarioReport, ScenarioRow
from rnnexport.benchmark.server import ServerRow
from rnnexport.benchmark.streaming import StreamingRow
from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.evidence import KeptEvidence, read_evidence
from rnnexport.linting.results import LintReport
from rnnexport.parity.drift import DriftReport
from rnnexport.parity.results import ParityReport
from rnnexport.training.training import TrainingResult
from rnnexport.tuning.results import TuneReport


@dataclass(frozen=True)
class Collected:
    """A bundle and its evidence."""

    name: str
    """How the page calls it: its folder's name, or the whole path where two folders have the same."""
    bundle: Bundle
    parity: KeptEvidence[ParityReport]
    bench: KeptEvidence[BenchReport]
    throughput: KeptEvidence[BenchReport]
    streaming: KeptEvidence[ScenarioReport[StreamingRow | ScenarioRow]]
    server: KeptEvidence[ScenarioReport[ServerRow | ScenarioRow]]
    mix: KeptEvidence[ScenarioReport[MixRow | ScenarioRow]]
    drift: KeptEvidence[DriftReport]
    tune: KeptEvidence[TuneReport]
    lint: KeptEvidence[LintReport]
    training: KeptEvidence[TrainingResult]

    @property
    def all(self) -> list[KeptEvidence[Any]]:
        """Every file that is there."""
        right: list[KeptEvidence[Any]] = [self.training, self.parity, self.lint, self.drift]
        fast: list[KeptEvidence[Any]] = [self.bench, self.throughput, self.streaming, self.server, self.mix, self.tune]
        return [evidence for evidence in right + fast if evidence.state != "none"]


def collect(paths: Sequence[str | Path]) -> list[Collected]:
    """Read bundles and what they hold; runtimes in the order of their names, so that those of bundles are alike.

    Raises:
        BundleError: One is missing or damaged.
    """
    bundles = [load_bundle(Path(path)) for path in paths]
    names = [bundle.path.resolve().name for bundle in bundles]
    return [
        _collect(name if names.count(name) == 1 else str(bundle.path), bundle)
        for name, bundle in zip(names, bundles, strict=True)
    ]


def _collect(name: str, bundle: Bundle) -> Collected:
    parity = read_evidence(bundle, "parity.json", ParityReport)
    drift = read_evidence(bundle, "drift.json", DriftReport)
    bench = read_evidence(bundle, "bench.json", BenchReport)
    for judged in (parity.report, drift.report):
        if judged is not None:
            judged.runtimes.sort(key=lambda runtime: runtime.definition.name)
    if bench.report is not None:
        bench.report.measurements.sort(key=lambda row: (row.batch_size, row.time_steps, row.definition.name))
    return Collected(
        name=name,
        bundle=bundle,
        parity=parity,
        bench=bench,
        throughput=read_evidence(bundle, "bench-throughput.json", BenchReport),
        streaming=read_evidence(bundle, "bench-streaming.json", ScenarioReport[StreamingRow | ScenarioRow]),
        server=read_evidence(bundle, "bench-server.json", ScenarioReport[ServerRow | ScenarioRow]),
        mix=read_evidence(bundle, "bench-mix.json", ScenarioReport[MixRow | ScenarioRow]),
        drift=drift,
        tune=read_evidence(bundle, "tune.json", TuneReport),
        lint=read_evidence(bundle, "lint.json", LintReport),
        training=read_evidence(bundle, "training.json", TrainingResult),
    )
