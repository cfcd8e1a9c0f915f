"""How figures are written for people: three digits and a unit."""

from __future__ import annotations

from rnnexport.data.metrics import ERRORS

_DECIMAL = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))
_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def duration(nanoseconds: float | None) -> str:
    """Such as `1.23 ms`; `-` for None."""
    if nanoseconds is None:
        return "-"
    for size, unit in _DECIMAL:
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def duration_within(nanoseconds: float | None, interval: tuple[float, float] | None) -> str:
    """A duration and its interval in the same unit, such as `1.23 (1.2–1.31) ms`; `-` for None."""
    if nanoseconds is None or interval is None:
        return "-"
    size, unit = next((entry for entry in _DECIMAL if nanoseconds >= entry[0]), (1.0, "ns"))
    middle, low, high = (f"{float(f'{value / size:.3g}'):g}" for value in (nanoseconds, *interval))
    return f"{middle} ({low}–{high}) {unit}"


def size(bytes_: float | None) -> str:
    """Such as `12.3 MiB`; `-` for None."""
    if bytes_ is None:
        return "-"
    for unit_size, unit in _BINARY:
        if bytes_ >= unit_size:
            return f"{bytes_ / unit_size:.1f} {unit}"
    return f"{bytes_:.0f} B"


def rate(per_second: float | None) -> str:
    """Such as `12,300/s`; `-` for None."""
    return "-" if per_second is None else f"{float(f'{per_second:.3g}'):,.0f}/s"


def percent(fraction: float | None) -> str:
    """Such as `97.8 %`; `-` for None."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def times(ratio: float) -> str:
    """Such as `1.2×` or `170×`."""
    return f"{float(f'{ratio:.2g}'):,g}×"


def metric_value(metric: str | None, value: float | None) -> str:
    """A share such as `97.8 %`, or an error such as `11.5`; `-` for None."""
    if value is None or metric not in ERRORS:
        return percent(value)
    return f"{value:.3g}"
