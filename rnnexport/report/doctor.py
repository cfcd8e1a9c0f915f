"""What `rnnexport doctor` found, as lines that stay readable in an issue."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from rnnexport.environment.doctor import DoctorReport
from rnnexport.environment.installation import Facts
from rnnexport.report.numbers import size
from rnnexport.runtime.definitions import RuntimeStatus

_COLUMNS = 80
_INDENT = 12


def doctor_text(report: DoctorReport) -> str:
    """The facts, the runtimes, and what is amiss with its remedy; no line is longer than 80 columns."""
    facts = report.facts
    lines = [line for name, text in _facts(facts) if text for line in _line(name, text)]
    lines += ["", "runtimes"]
    lines += [line for status in facts.runtimes for line in _entry(_runtime(status))]
    lines += ["", "known conflicts" if report.conflicts else "no known conflict"]
    for conflict in report.conflicts:
        lines += [*_entry(f"{conflict.level}: {conflict.what}"), *_entry(f"remedy: {conflict.remedy}", 4)]
    return "\n".join(lines)


def _facts(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "system", facts.platform
    yield "python", f"{facts.python}, multiprocessing by {facts.start_method}"
    yield "libstdc++", facts.libstdcxx or "not found"
    yield "cpu", facts.cpu
    yield "features", " ".join(facts.features) or "none of those that matter"
    quota = "" if facts.cpu_quota is None else f"; the container grants the time of {facts.cpu_quota:g}"
    yield "cores", f"{facts.cores} usable, {facts.physical_cores} physical{quota}"
    yield "governor", ", ".join(facts.governors)
    limit = "" if facts.memory_limit is None else f"; the container grants {size(facts.memory_limit)}"
    yield "memory", f"{size(facts.memory_available)} available{limit}"
    yield "gpu", f"NVIDIA, driver {facts.nvidia_driver}" if facts.nvidia_driver else "no NVIDIA driver"
    yield "variables", ", ".join(f"{name}={value}" for name, value in facts.variables.items())
    yield "versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items())


def _runtime(status: RuntimeStatus) -> str:
    name, availability = status.definition.name, status.availability
    if availability.usable:
        return f"{name}: usable, {status.definition.engine} {availability.version}"
    remedy = f"; run: {availability.remedy}" if availability.remedy else ""
    return f"{name}: {availability.reason}{remedy}"


def _line(name: str, text: str) -> list[str]:
    return _wrapped(text, f"{name:<{_INDENT}}", " " * _INDENT)


def _entry(text: str, indent: int = 2) -> list[str]:
    return _wrapped(text, " " * indent, " " * (indent + 2))


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return wrap(
        text, _COLUMNS, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
