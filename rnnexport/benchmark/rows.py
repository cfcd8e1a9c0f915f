"""What the roofline and the profile ask of a measured row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rnnexport.engines.contract import Definition


class Row(Protocol):
    """One bundle in one runtime at one shape."""

    @property
    def bundle(self) -> str:
        """The bundle's folder."""
        ...

    @property
    def definition(self) -> Definition:
        """The runtime."""
        ...

    @property
    def batch_size(self) -> int:
        """Series in a call."""
        ...

    @property
    def time_steps(self) -> int:
        """Steps of each series."""
        ...

    @property
    def samples_ns(self) -> Sequence[int]:
        """Latencies; empty where there are no figures."""
        ...
