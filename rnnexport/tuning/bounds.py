"""Drop what cannot be the fastest: what the machine can do at best takes longer than another candidate already did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from rnnexport.benchmark.machine import Machine
from rnnexport.benchmark.probe import probe_machine
from rnnexport.benchmark.roofline import lower_bound
from rnnexport.benchmark.weight_formats import FORMATS
from rnnexport.benchmark.work import recurrent_work
from rnnexport.tuning.graph_variants import GraphVariant
from rnnexport.tuning.results import Candidate
from rnnexport.tuning.rounds import drop
from rnnexport.tuning.workload import Workload

_WORTH_PROBING_NS = 1e6
"""Shorter calls are held by what they cost to start, far above their bound."""


def drop_by_bound(
    workload: Workload, candidates: Sequence[Candidate], variants: Mapping[str, GraphVariant]
) -> Machine | None:
    """Drop candidates on the CPU without figures whose bound is above the fastest figure at every shape.

    Returns the machine as it was probed, or `None` where calls are too short for a bound to say anything.
    """
    measured = [c for c in candidates if c.medians_ns and c.alive]
    best = [min(medians) for medians in zip(*(c.medians_ns for c in measured), strict=True)]
    waiting = [c for c in candidates if not c.medians_ns and c.alive and c.definition.device == "cpu"]
    if not best or max(best) < _WORTH_PROBING_NS or not waiting:
        return None
    model = ir.load(workload.source)
    works = [recurrent_work(model, sizes)[0] for sizes in workload.sizes]
    if not all(works):
        return None
    machine = probe_machine()
    for candidate in waiting:
        definition = candidate.definition
        half = definition.precision != "float32"
        weights = FORMATS[definition.precision] if half else variants[candidate.form].format
        threads = definition.threads or machine.cores
        bounds = [lower_bound(work, machine, weights, threads).nanoseconds for work in works]
        if all(bound > fastest for bound, fastest in zip(bounds, best, strict=True)):
            drop(candidate, f"this machine needs at least {bounds[0] / best[0]:.1f} times what the fastest takes")
    return machine
