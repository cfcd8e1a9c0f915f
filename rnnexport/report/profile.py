"""Table of where the time of a call goes."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from rnnexport.benchmark.profiling import Profile
from rnnexport.report.numbers import duration, percent

_LEAST_SHARE = 0.05  # of a node with a line of its own


def profile_tables(profiles: list[Profile]) -> list[Table | Text]:
    """One table per measured row: recurrent layers, whatever else takes over 5 %, and the rest together."""
    return [
        Text(f"{_title(profile)}: no profile: {profile.failure}", style="red") if profile.failure else _table(profile)
        for profile in profiles
    ]


def _table(profile: Profile) -> Table:
    table = Table("recurrent layer", "node", "operator", "time", "share", title=_title(profile), title_justify="left")
    shown = [n for n in profile.nodes if n.layers or n.nanoseconds >= _LEAST_SHARE * profile.nanoseconds]
    for node in shown:
        share = percent(node.nanoseconds / profile.nanoseconds)
        table.add_row("\n".join(node.layers) or "-", node.name, node.operator, duration(node.nanoseconds), share)
    rest = profile.nanoseconds - sum(node.nanoseconds for node in shown)
    if others := len(profile.nodes) - len(shown):
        table.add_row("-", f"{others} other nodes", "", duration(rest), percent(rest / profile.nanoseconds))
    return table


def _title(profile: Profile) -> str:
    shape = f"batch={profile.batch_size} time={profile.time_steps}"
    return f"{Path(profile.bundle).name} in {profile.runtime}, {shape}: time by node"
