"""The ways in which one runtime is asked the same: as defined, smallest call first, with one thread, with fixed shapes.

A library has other kernels for other thread counts and for static shapes, so each is a case of its own. What a library
keeps of a session's first call may spoil the later ones (OpenVINO 2026.4 computes attention wrongly once the first call
had one step), so a second session begins with the smallest call. All calls of one way run one after another on one
session; the first way has a process of its own, and so have the others together, with a limit of time and of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rnnexport.bundle.bundle import Bundle
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.parity.grid import Case
from rnnexport.parity.options import GridName, Limits
from rnnexport.parity.oracle import feeds_for
from rnnexport.runtime.successive_sessions import SessionCall, infer_successively
from rnnexport.runtime.worker import CaseResult, infer

_MOST_STATIC_BYTES = 1 << 30
_FEW = {"quick": 0, "default": 2, "full": 6}
_AFTER_THE_SMALLEST = {"quick": 1, "default": 3, "full": 12}


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call in one way."""

    case: int
    """Its number among the cases."""
    name: str
    threads: int | None = None
    """`None` leaves the definition's."""
    static: bool = False
    """Whether the graph's dimensions are fixed to those of the call."""
    smallest_first: bool = False
    """Whether it runs on the session that begins with the smallest call."""

    @property
    def plain(self) -> bool:
        """Whether it runs on the first session, as defined."""
        return self.threads is None and not self.static and not self.smallest_first


def draw_rows(bundle: Bundle, definition: Definition, cases: Sequence[Case], grid: GridName) -> list[CallRow]:
    """All calls as defined, then some of them after the smallest, with one thread, and in a graph of static shapes."""
    rows = [CallRow(number, case.name) for number, case in enumerate(cases)]
    distinct = _distinct(cases)
    if not reads_source(definition) and len(distinct) > 1:
        smallest = min(distinct, key=lambda number: sum(array.size for array in cases[number].feeds.values()))
        others = [number for number in distinct if number != smallest][: _AFTER_THE_SMALLEST[grid]]
        rows += [CallRow(n, f"{cases[n].name}, smallest first", smallest_first=True) for n in (smallest, *others)]
    chosen = distinct[: _FEW[grid]]
    if definition.threads != 1:
        rows += [CallRow(number, f"{cases[number].name}, 1 thread", threads=1) for number in chosen]
    if not reads_source(definition) and bundle.model_path.stat().st_size < _MOST_STATIC_BYTES:
        rows += [CallRow(number, f"{cases[number].name}, static shapes", static=True) for number in chosen]
    return rows


def run_rows(
    bundle: Bundle, definition: Definition, rows: Sequence[CallRow], feeds: Sequence[Feeds], limits: Limits
) -> Iterator[CaseResult]:
    """Run each row on the feeds of its case; results in the order of the rows, of which the plain ones come first.

    These have a process of their own; the others share one, with a session for each way, as they come. An engine that
    runs the source model, which takes longest to start, has one process for all.
    """
    sources, model = feeds_for(definition, feeds), bundle.file_for(definition)
    seconds, memory = limits.time_limit_seconds, limits.memory_limit_bytes
    own = [row for row in rows if row.plain and not reads_source(definition)]
    first = [sources[row.case] for row in own]
    plain = [*infer(model, definition, first, time_limit_seconds=seconds, memory_limit_bytes=memory)]
    yield from plain
    rest = [row for row in rows if row not in own]
    if plain and plain[0].failure is not None and plain[0].failure.loading:  # then it does not load there either
        yield from (CaseResult(failure=plain[0].failure) for row in rest if row.smallest_first)
        rest = [row for row in rest if not row.smallest_first]
    calls = [SessionCall(sources[row.case], _altered(definition, row.threads), row.static) for row in rest]
    yield from infer_successively(model, calls, time_limit_seconds=seconds, memory_limit_bytes=memory)


def _altered(definition: Definition, threads: int | None) -> Definition:
    return definition if threads is None else definition.model_copy(update={"threads": threads})


def _distinct(cases: Sequence[Case]) -> list[int]:
    """The number of the first call of each shape; those with more than one row and step come first."""
    first: dict[tuple[tuple[int, ...], ...], int] = {}
    for number, case in enumerate(cases):
        first.setdefault(tuple(array.shape for array in case.feeds.values()), number)
    return sorted(first.values(), key=lambda number: 1 in next((a.shape for a in cases[number].feeds.values()), ())[:2])
