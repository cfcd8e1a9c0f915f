"""The least time that a call's recurrent layers can take on a machine, and how near a measured time comes to it.

The model is Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009, with one roof for each level of memory.
docs/explanation/roofline.md gives the formulas and says why each of them is a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnnexport.benchmark.machine import Machine, MemoryLevel
from rnnexport.benchmark.weight_formats import WeightFormat
from rnnexport.benchmark.work import LayerWork

ARITHMETIC = "arithmetic"
SYNCHRONISATION = "synchronisation"


@dataclass(frozen=True, slots=True)
class Bound:
    """The least time of a call's recurrent layers."""

    nanoseconds: float
    work_limit: str
    """What takes most of it: `arithmetic`, or the level that the weights come from."""
    synchronisation_ns: float
    """What a fork and join in every step would cost; no part of the bound, since a kernel may do without."""

    @property
    def limit(self) -> str:
        """`work_limit`, or `synchronisation` where that costs more than the work."""
        return SYNCHRONISATION if self.synchronisation_ns > self.nanoseconds else self.work_limit


def lower_bound(work: Sequence[LayerWork], machine: Machine, weights: WeightFormat, threads: int) -> Bound:
    """Bound a call that repeats, on so many threads; `work` must not be empty.

    `weights` is the format of layers that do not have one of their own.
    """
    cores = min(threads, machine.cores)
    phases = _phases(work, machine, weights, cores)
    slowest = max(phases, key=lambda name: phases[name])
    nanoseconds, limit = max((sum(phases.values()), slowest), _sweep(work, machine, weights, cores))
    steps = sum(layer.time_steps for layer in work)
    return Bound(nanoseconds, limit, steps * machine.fork_join_ns if cores > 1 else 0.0)


def _phases(work: Sequence[LayerWork], machine: Machine, weights: WeightFormat, cores: int) -> dict[str, float]:
    """Nanoseconds by what holds them up, of phases that follow one another: a layer's projection, then its steps.

    Each phase may find in the nearer levels as much of its matrix as they hold.
    """
    held_up = {ARITHMETIC: 0.0}
    for layer in work:
        own = layer.weights or weights
        for flop, count, repeats in (
            (layer.projection_flop, layer.projection_weights, 1),
            (layer.step_flop, layer.recurrent_weights, layer.time_steps),
        ):
            bytes_ = count * own.bytes_per_weight
            times = [_reading_ns(bytes_, level, machine, cores) for level in machine.levels]
            computing = 1e9 * flop / machine.peak(own.arithmetic, cores)
            longest, limit = max((computing, ARITHMETIC), _slowest_level(times, bytes_, machine, cores))
            held_up[limit] = held_up.get(limit, 0.0) + repeats * longest
    return held_up


def _sweep(work: Sequence[LayerWork], machine: Machine, weights: WeightFormat, cores: int) -> tuple[float, str]:
    """Nanoseconds that the slowest level takes for all that it must hand over, and its name.

    A call touches every weight once, and the nearer levels keep only as much of *all* from call to call; then every
    layer's steps read R again. With few steps in a deep model this says more than the phases do.
    """
    widths = [(layer.weights or weights).bytes_per_weight for layer in work]
    every_weight = sum(
        width * (layer.projection_weights + layer.recurrent_weights) for layer, width in zip(work, widths, strict=True)
    )
    times = []
    for level in machine.levels:
        nanoseconds = _reading_ns(every_weight, level, machine, cores)
        for layer, width in zip(work, widths, strict=True):
            again = _reading_ns(layer.recurrent_weights * width, level, machine, cores)
            nanoseconds += (layer.time_steps - 1) * again
        times.append(nanoseconds)
    return _slowest_level(times, every_weight, machine, cores)


def _slowest_level(times: Sequence[float], bytes_: float, machine: Machine, cores: int) -> tuple[float, str]:
    """The longest of the levels' times, and the level to name for it.

    What comes from far passes the nearer levels and may be held up there; the name is that of where most comes from.
    """
    if not machine.levels:
        return 0.0, ARITHMETIC
    slowest = max(range(len(times)), key=lambda number: times[number])
    home = sum(level.spared(cores) <= bytes_ / 2 for level in machine.levels) - 1
    return times[slowest], machine.levels[max(slowest, home)].name


def _reading_ns(bytes_: float, level: MemoryLevel, machine: Machine, cores: int) -> float:
    """Time to read what the nearer levels cannot hold; each byte is read once, so they spare at most what they hold."""
    return 1e9 * max(0.0, bytes_ - level.spared(cores)) / machine.bandwidth(level, cores)
