"""Tables of measured latencies beside what the machine can do."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from rnnexport.benchmark.limits import Roofline, RooflineRow
from rnnexport.benchmark.machine import Machine
from rnnexport.report.numbers import duration, times

_HEADINGS = (
    "bundle",
    "runtime",
    "batch × time",
    "median",
    "bound",
    "held by",
    "reached",
    "left",
    "in int8",
    "by threads",
    "fork/join",
)
_NOTHING = 1.05  # a gain below this is none


def roofline_tables(roofline: Roofline) -> list[Table | Text]:
    """What the machine can do, a line for each row, and the rows about which the probe must be wrong."""
    table = Table(*_HEADINGS, title="latency beside the bound of the recurrent layers", title_justify="left")
    for row in roofline.rows:
        table.add_row(Path(row.bundle).name, row.runtime, f"{row.batch_size} × {row.time_steps}", *_figures(row))
    reasons = dict.fromkeys(f"{row.runtime}: no bound: {row.not_bounded}" for row in roofline.rows if row.not_bounded)
    left_out = dict.fromkeys(
        f"{Path(row.bundle).name}: not in the bound: {name}" for row in roofline.rows for name in row.left_out
    )
    faults = [Text(_fault(row), style="red") for row in roofline.faults]
    return [_machine(roofline.machine), table, *map(Text, (*reasons, *left_out)), *faults]


def _figures(row: RooflineRow) -> list[str]:
    """Such as held by `L3`, `82 %` of the bound reached, at most `1.2×` left, `4.8×` in int8, `nothing` by threads."""
    if row.share is None:
        return [duration(row.median_ns), *["-"] * 7]
    gains_by_threads = row.bound_ns > _NOTHING * row.all_cores_bound_ns
    return [
        duration(row.median_ns),
        duration(row.bound_ns),
        row.limit,
        f"{100 * row.share:.0f} %",
        times(1 / row.share),
        times(row.median_ns / row.int8_bound_ns),
        times(row.median_ns / row.all_cores_bound_ns) if gains_by_threads else "nothing",
        duration(row.synchronisation_ns),
    ]


def _machine(machine: Machine) -> Table:
    table = Table("this machine, at best", "one thread", f"{machine.cores} threads")
    for kind, rate in machine.flop_per_second.items():
        table.add_row(f"matrix product in {kind}", *(f"{value / 1e9:,.0f} Gflop/s" for value in (rate.one, rate.all)))
    for level in machine.levels:
        rates = level.bytes_per_second
        table.add_row(f"reading {level.name}", *(f"{value / 1e9:,.0f} GB/s" for value in (rates.one, rates.all)))
    table.add_row("fork and join of a parallel region", "-", duration(machine.fork_join_ns))
    return table


def _fault(row: RooflineRow) -> str:
    return (
        f"{row.runtime}: batch={row.batch_size} time={row.time_steps}: a call took {duration(row.fastest_ns)}, less "
        f"than the {duration(row.bound_ns)} that the probe holds possible ({row.work_limit}): the probe was too slow, "
        "so these percentages mean nothing; run it again on a quiet machine"
    )
