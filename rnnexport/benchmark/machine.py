"""What a CPU can do at best: its arithmetic, its caches, and what it costs to start threads.

`probe.py` measures it, `roofline.py` reads it. Everything errs to the fast side, since a bound must not be beaten.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Arithmetic = Literal["float32", "bfloat16", "int8"]
_CPUS = Path("/sys/devices/system/cpu")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Rate(_Frozen):
    """How much per second one thread does, and all threads together (one for each core)."""

    one: float
    all: float

    def best(self, other: Rate) -> Rate:
        """The faster of two measurements of the same thing."""
        return Rate(one=max(self.one, other.one), all=max(self.all, other.all))


class Cache(_Frozen):
    """The data caches of one level."""

    level: int
    size: int
    """Bytes of one of them."""
    instances: int
    """How many there are: one for each core, or one that all share, or one for each group of cores."""

    def holds(self, cores: int) -> int:
        """Bytes that so many cores have in their reach, at best."""
        return self.size * min(self.instances, cores)


class MemoryLevel(_Frozen):
    """A cache, or the memory behind the caches."""

    name: str
    """`L2`, `L3` or `memory`."""
    nearer: tuple[Cache, ...]
    """The caches before it; what they hold need not come from here."""
    private: bool
    """Whether every core has one of its own, so that its rate grows with the cores."""
    bytes_per_second: Rate

    def spared(self, cores: int) -> int:
        """Bytes that the nearer caches of so many cores hold."""
        return sum(cache.holds(cores) for cache in self.nearer)


class Machine(_Frozen):
    """A CPU as the probe found it."""

    cores: int
    """Physical cores that this process may use."""
    flop_per_second: dict[Arithmetic, Rate]
    """Of matrix products; a precision that is missing is no faster than `float32`."""
    levels: tuple[MemoryLevel, ...]
    """From near to far. L1 is left out: it feeds the arithmetic at full rate."""
    fork_join_ns: float
    """What a parallel region on all cores costs more than the same work on one; 0 on one core."""

    def peak(self, arithmetic: Arithmetic, threads: int) -> float:
        """Flop per second of so many threads."""
        rates = self.flop_per_second
        rate = rates["float32"] if arithmetic not in rates else rates[arithmetic].best(rates["float32"])
        return self._private(rate, threads)

    def bandwidth(self, level: MemoryLevel, threads: int) -> float:
        """Bytes per second that so many threads read from a level; several share it as well as all do, at best."""
        rate = level.bytes_per_second
        return self._private(rate, threads) if level.private or threads == 1 else max(rate.one, rate.all)

    def _private(self, rate: Rate, threads: int) -> float:
        """What cores do each for itself: so many times the best that one of them has shown, alone or among all."""
        return max(rate.one, rate.all / self.cores) * min(threads, self.cores)

    def best(self, other: Machine) -> Machine:
        """The faster of two probes of the same machine, figure by figure."""
        both = {**other.flop_per_second, **self.flop_per_second}
        return Machine(
            cores=self.cores,
            flop_per_second={kind: rate.best(other.flop_per_second.get(kind, rate)) for kind, rate in both.items()},
            levels=tuple(
                a.model_copy(update={"bytes_per_second": a.bytes_per_second.best(b.bytes_per_second)})
                for a, b in zip(self.levels, other.levels, strict=True)
            ),
            fork_join_ns=min(self.fork_join_ns, other.fork_join_ns),
        )


def usable_cores() -> int:
    """Physical cores among the CPUs that this process may run on."""
    return len({_read(_CPUS / f"cpu{cpu}/topology/thread_siblings_list") or cpu for cpu in os.sched_getaffinity(0)})


def data_caches() -> tuple[Cache, ...]:
    """What the kernel says of the caches, nearest first; nothing where it does not say, as in some containers."""
    found: dict[int, tuple[int, set[str]]] = {}
    for cpu in os.sched_getaffinity(0):
        for folder in _CPUS.glob(f"cpu{cpu}/cache/index*"):
            level, size, shared_by = (_read(folder / name) for name in ("level", "size", "shared_cpu_list"))
            if level and size and _read(folder / "type") != "Instruction":
                _, groups = found.setdefault(int(level), (int(size[:-1]) * _UNITS[size[-1]], set()))
                groups.add(shared_by)
    return tuple(
        Cache(level=level, size=size, instances=len(groups)) for level, (size, groups) in sorted(found.items())
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
