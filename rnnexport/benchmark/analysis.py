"""What a benchmark can say beyond latencies, where it is asked to: `--roofline` and `--profile`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel

from rnnexport.benchmark.limits import Roofline, roofline_of
from rnnexport.benchmark.profiling import Profile, profile_of
from rnnexport.benchmark.rows import Row


class Analysis(BaseModel):
    """Of the rows of one report."""

    roofline: Roofline | None = None
    profiles: list[Profile] = []

    def of(self, bundle: str) -> Analysis:
        """The part about one bundle, named by its folder."""
        rows = [row for row in self.roofline.rows if row.bundle == bundle] if self.roofline else []
        return Analysis(
            roofline=self.roofline.model_copy(update={"rows": rows}) if self.roofline else None,
            profiles=[profile for profile in self.profiles if profile.bundle == bundle],
        )

    @property
    def failed(self) -> bool:
        """Whether the probe was too slow to judge by."""
        return self.roofline is not None and bool(self.roofline.faults)


def analyse(
    rows: Sequence[Row], *, roofline: bool, profile: bool, seed: int, on_progress: Callable[[str], None]
) -> Analysis:
    """Probe the machine for `roofline`, and run every row that has figures again for `profile`, each in a worker.

    `seed` draws the inputs, as `bench` does. `on_progress` is told what is done next.
    """
    measured = [row for row in rows if row.samples_ns]
    analysis = Analysis()
    if roofline:
        on_progress("what this machine can do")
        analysis.roofline = roofline_of(measured)
    if profile:
        on_progress("where the time goes")
        analysis.profiles = [profile_of(row, seed) for row in measured]
    return analysis
