"""Loads other than one call after another: what they have in common.

A scenario measures one bundle in one runtime, in worker processes, and gives a row; whatever its calls answer is held
to the float64 reference like everywhere: a wrong answer has no figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, SerializeAsAny

from rnnexport.benchmark.results import Conditions, ConditionsWatch
from rnnexport.benchmark.targets import fault
from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.bundle.manifest import TensorInfo
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import EngineError, RnnexportError, RuntimeUnavailableError
from rnnexport.parity.compare import Reference
from rnnexport.parity.grid import CaseShape, symbol_sizes
from rnnexport.results.result import Result
from rnnexport.runtime.definitions import RuntimeStatus, choose_runtimes
from rnnexport.runtime.worker import Arrays, CaseResult, run_job
from rnnexport.versions import available_memory, tool_versions


class ScenarioRow(BaseModel):
    """One bundle in one runtime; a scenario adds its figures."""

    bundle: str
    definition: Definition
    failure: str | None = None
    """What went wrong, so that there are no figures."""
    not_applicable: str | None = None
    """Why there was nothing to measure."""


class Scenario(Protocol):
    """A kind of load with its settings: a dataclass."""

    @property
    def name(self) -> Literal["streaming", "server", "mix"]:
        """How the command line calls it."""
        ...

    @property
    def timed_region(self) -> str:
        """What lies inside the figures."""
        ...

    def check(self, bundle: Bundle) -> None:
        """Refuse a bundle that cannot be measured so, before the work begins.

        Raises:
            InputError: With what is missing.
        """
        ...

    def measure(self, bundle: Bundle, definition: Definition) -> ScenarioRow:
        """Measure.

        Raises:
            RnnexportError: It cannot be measured, or the answers are wrong.
        """
        ...


AnyRow = TypeVar("AnyRow", bound=ScenarioRow)


class ScenarioReport(Result, Generic[AnyRow]):
    """What a scenario found."""

    schema_version: Literal[1] = 1
    scenario: str
    timed_region: str
    settings: dict[str, Any]
    rows: list[SerializeAsAny[AnyRow]]
    not_usable: list[RuntimeStatus]
    conditions: Conditions
    versions: dict[str, str]

    def records(self) -> list[dict[str, Any]]:
        """A row for each bundle and runtime, with the scenario's own figures."""
        dumped = [row.model_dump(mode="json", exclude={"definition"}) for row in self.rows]
        return [{"runtime": row.definition.name, **figures} for row, figures in zip(self.rows, dumped, strict=True)]

    @property
    def exit_status(self) -> int:
        """0: every row has figures; 1: one has not; 3: a runtime that was named is not usable here."""
        if any(row.failure for row in self.rows):
            return 1
        return RuntimeUnavailableError.exit_status if self.not_usable else 0


def run_scenario(
    scenario: Scenario,
    bundles: Sequence[str | Path] = (),
    runtimes: Sequence[str | Path] = (),
    *,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ScenarioReport[ScenarioRow]:
    """Measure every bundle in every runtime, and write `bench-SCENARIO.json` into each bundle after each row.

    Raises:
        BundleError: A bundle is missing or damaged.
        InputError: A bundle lacks what the scenario needs.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    watch = ConditionsWatch()
    definitions, not_usable = choose_runtimes(runtimes)
    rows: list[ScenarioRow] = []

    def report(some: list[ScenarioRow]) -> ScenarioReport[ScenarioRow]:
        return ScenarioReport(
            scenario=scenario.name,
            timed_region=scenario.timed_region,
            settings=asdict(scenario),  # type: ignore[call-overload]  # a protocol cannot say that it is a dataclass
            rows=some,
            not_usable=not_usable,
            conditions=watch.conditions(),
            versions=tool_versions(),
        )

    opened = [load_bundle(Path(path)) for path in bundles or reference_bundles()]
    for bundle in opened:
        scenario.check(bundle)
    for bundle in opened:
        own: list[ScenarioRow] = []
        for definition in definitions:
            on_progress(f"{scenario.name}: {bundle.path.name} in {definition.name}")
            own.append(_row(scenario, bundle, definition))
            bundle.write_evidence(f"bench-{scenario.name}.json", report(own).model_dump(mode="json"))
        rows += own
    return report(rows)


def _row(scenario: Scenario, bundle: Bundle, definition: Definition) -> ScenarioRow:
    row = ScenarioRow(bundle=str(bundle.path), definition=definition)
    if reason := bundle.why_not_applicable(definition):
        return row.model_copy(update={"not_applicable": reason})
    try:
        return scenario.measure(bundle, definition)
    except RnnexportError as exc:
        return row.model_copy(update={"failure": str(exc)})


def run_one(job: str, arguments: Mapping[str, Any], case: Feeds, time_limit_seconds: float) -> CaseResult:
    """Run a job's only case in a process of its own.

    Raises:
        RnnexportError: It failed, hung, or took more memory than is free.
    """
    limit = int(0.9 * available_memory())
    (result,) = run_job(job, arguments, [case], time_limit_seconds=time_limit_seconds, memory_limit_bytes=limit)
    return result.checked()


def check(bundle: Bundle, definition: Definition, expected: dict[str, Reference], outputs: Arrays) -> None:
    """Hold a call's outputs to the reference.

    Raises:
        EngineError: One is wrong.
    """
    if wrong := fault(bundle, definition, expected, outputs):
        raise EngineError(wrong)


def pack(calls: Sequence[Feeds]) -> Arrays:
    """Many calls' arrays as one case: `7/x` is `x` of call 7."""
    return {f"{number}/{name}": array for number, call in enumerate(calls) for name, array in call.items()}


def unpack(case: Feeds) -> list[Arrays]:
    """The reverse of `pack`."""
    calls: dict[int, Arrays] = {}
    for key, array in case.items():
        number, _, name = key.partition("/")
        calls.setdefault(int(number), {})[name] = array
    return [calls[number] for number in sorted(calls)]


def batch_axes(inputs: Sequence[TensorInfo], tensors: Sequence[TensorInfo]) -> dict[str, int]:
    """Return the axis of the batch of each of `tensors` that has one."""
    small, large = (symbol_sizes(inputs, CaseShape(batch_size, 7)) for batch_size in (2, 3))
    names = {symbol for symbol in small if small[symbol] != large[symbol]}
    found = {info.name: [axis for axis, size in enumerate(info.shape) if size in names] for info in tensors}
    return {name: axes[0] for name, axes in found.items() if axes}


def percentiles(samples_ns: Sequence[int] | NDArray[np.int64]) -> dict[str, int | None]:
    """`p50_ns` and `p99_ns`, each `None` where the samples are too few."""
    from rnnexport.benchmark.statistics import percentile_ns

    values = [int(sample) for sample in samples_ns]
    return {"p50_ns": percentile_ns(values, 50), "p99_ns": percentile_ns(values, 99)}
