"""What a plan is made for."""

from __future__ import annotations

from typing import Literal

Purpose = Literal["latency", "throughput", "size", "streaming"]
