"""How near measured latencies come to what the machine can do, and what would move them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median_low

import onnx_ir as ir
from pydantic import BaseModel, computed_field

from rnnexport.benchmark.machine import Machine
from rnnexport.benchmark.probe import probe_machine
from rnnexport.benchmark.roofline import lower_bound
from rnnexport.benchmark.rows import Row
from rnnexport.benchmark.weight_formats import FORMATS, INT8
from rnnexport.benchmark.work import LayerWork, recurrent_work
from rnnexport.bundle.bundle import load_bundle
from rnnexport.engines.contract import Definition
from rnnexport.parity.grid import CaseShape, symbol_sizes


class RooflineRow(BaseModel):
    """A measured row beside its bound; times are nanoseconds of one call."""

    bundle: str
    runtime: str
    batch_size: int
    time_steps: int
    median_ns: float
    fastest_ns: float
    not_bounded: str | None = None
    """Why there is no bound, and so no figure below."""
    bound_ns: float = 0.0
    limit: str = ""
    """What holds it: `arithmetic`, `L2`, `L3` or `memory` that the weights come from, or `synchronisation`."""
    work_limit: str = ""
    """The same without `synchronisation`: what the bound is made of."""
    synchronisation_ns: float = 0.0
    """A fork and join in every step; no part of the bound."""
    int8_bound_ns: float = 0.0
    all_cores_bound_ns: float = 0.0
    left_out: tuple[str, ...] = ()
    """Recurrent layers whose work the graph does not tell, so that the bound is lower than it could be."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def share(self) -> float | None:
        """The bound's part of the median latency: 1 is all that the machine can do."""
        return None if self.not_bounded else self.bound_ns / self.median_ns

    @computed_field  # type: ignore[prop-decorator]
    @property
    def beats_its_bound(self) -> bool:
        """Whether even one call was faster than is possible, so that the probe must be wrong."""
        return self.not_bounded is None and self.fastest_ns < self.bound_ns


class Roofline(BaseModel):
    """What `rnnexport bench --roofline` adds."""

    machine: Machine
    rows: list[RooflineRow]

    @property
    def faults(self) -> list[RooflineRow]:
        """Rows that the probe must be wrong about."""
        return [row for row in self.rows if row.beats_its_bound]


Counted = tuple[tuple[LayerWork, ...], tuple[str, ...]]
"""The work of the layers, and the names of those whose work is not known."""


def work_of_bundle(row: Row) -> Counted:
    """Count the work of a row's call off its bundle's graph."""
    bundle = load_bundle(Path(row.bundle))
    sizes = symbol_sizes(bundle.manifest.inputs, CaseShape(row.batch_size, row.time_steps))
    return recurrent_work(ir.load(bundle.model_path), sizes)


def roofline_of(rows: Sequence[Row], work_of: Callable[[Row], Counted] = work_of_bundle) -> Roofline:
    """Probe the machine and put every measured row, one with figures, beside its bound.

    `work_of` counts the work of a row's call.

    Where a row beats its bound, other work may have slowed the probe, so it is repeated once and the best of both
    counts; what still beats it is in `faults`.
    """
    works = [work_of(row) for row in rows]
    found = _rows_beside(rows, works, probe_machine())
    return _rows_beside(rows, works, found.machine.best(probe_machine())) if found.faults else found


def _rows_beside(rows: Sequence[Row], works: Sequence[Counted], machine: Machine) -> Roofline:
    return Roofline(machine=machine, rows=[_row(row, *work, machine) for row, work in zip(rows, works, strict=True)])


def _row(row: Row, work: tuple[LayerWork, ...], left_out: tuple[str, ...], machine: Machine) -> RooflineRow:
    found = RooflineRow(
        bundle=row.bundle,
        runtime=row.definition.name,
        batch_size=row.batch_size,
        time_steps=row.time_steps,
        median_ns=median_low(row.samples_ns),
        fastest_ns=min(row.samples_ns),
    )
    if row.definition.device != "cpu":
        return found.model_copy(update={"not_bounded": "the probe knows the CPU only"})
    if not work:
        return found.model_copy(update={"not_bounded": "the graph does not tell the work of its recurrent layers"})
    weights, threads = FORMATS[row.definition.precision], _threads(row.definition, machine)
    bound = lower_bound(work, machine, weights, threads)
    return found.model_copy(
        update={
            "bound_ns": bound.nanoseconds,
            # a runtime whose whole call takes less than that does not synchronise in every step
            "limit": bound.limit if bound.synchronisation_ns <= found.median_ns else bound.work_limit,
            "work_limit": bound.work_limit,
            "synchronisation_ns": bound.synchronisation_ns,
            "int8_bound_ns": lower_bound(work, machine, INT8, threads).nanoseconds,
            "all_cores_bound_ns": lower_bound(work, machine, weights, machine.cores).nanoseconds,
            "left_out": left_out,
        }
    )


def _threads(definition: Definition, machine: Machine) -> int:
    """The engine's default counts as every core, which can only lower the bound."""
    return definition.threads or machine.cores
