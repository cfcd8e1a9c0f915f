"""Writes the tables of docs/results/kernels.md from what `benchmarks.measure_kernels --json` measured.

    python -m benchmarks.write_kernels kernels.json [another-cpu.json ...]

Each file becomes a section, headed by its CPU.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from benchmarks.measure_kernels import SHAPES, Candidate, Shape, ratios

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/results/kernels.md"
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->"
PARTS = {
    "streams": "one step, one stream",
    "series": "20 steps, one series",
    "batch": "20 steps, four series",
}
PEERS = {
    "stack": ("float32", "plan", "torch.ao"),
    "stack, int16": ("float32", "plan", "torch.ao"),
    "stack, int8": ("float32", "int8 plan", "torch.ao"),
    "stack, int8, 8-bit activations": ("float32", "int8 plan", "torch.ao"),
    "stack, int4": ("float32", "plan", "torch.ao"),
}
"""The columns that a ratio is given for, by the variant with the operator."""


def measured_in(path: Path) -> tuple[str, list[tuple[str, Shape, list[Candidate]]], dict[str, dict[str, float]]]:
    """The CPU, what each shape gave, and the errors on white noise by cell."""
    result = json.loads(path.read_text())
    shapes = []
    for told in result["shapes"]:
        candidates = [Candidate(**with_integer_keys(each)) for each in told.pop("candidates")]
        shape = Shape(**told)
        shapes.append((part_of(shape), shape, candidates))
    return result["cpu"], shapes, result["errors"]


def with_integer_keys(candidate: dict[str, Any]) -> dict[str, Any]:
    """JSON has made text of the numbers of threads."""
    counts = {name: value for name, value in candidate.items() if isinstance(value, dict)}
    return candidate | {name: {int(key): each for key, each in value.items()} for name, value in counts.items()}


def part_of(shape: Shape) -> str:
    """The part of the measurement that a shape belongs to."""
    sizes = (shape.layers, shape.hidden_size, shape.time_steps, shape.batch_size)
    return next(part for part, drawn in SHAPES.items() if sizes in drawn)


def tables(paths: Sequence[Path]) -> Iterator[str]:
    """All lines, file by file."""
    for path in paths:
        cpu, shapes, errors = measured_in(path)
        yield f"## {cpu}\n"
        for title, peers in PEERS.items():
            yield f"### {title}\n"
            yield row("layers", "", "time", "threads", *peers, "error", "reached")
            yield row(*["---"] * (6 + len(peers)))
            yield from rows(shapes, title, peers)
            yield ""
        if errors:
            yield "### Largest error over 1,000 steps of white noise\n"
            yield row("", *(f"{cell} 1 × 256" for cell in errors))
            yield row(*["---"] * (1 + len(errors)))
            for title in dict.fromkeys(title for found in errors.values() for title in found):
                yield row(title, *(f"{found[title]:.1e}" if title in found else "" for found in errors.values()))
            yield ""


def rows(shapes: Sequence[tuple[str, Shape, list[Candidate]]], title: str, peers: Sequence[str]) -> Iterator[str]:
    """A line for each shape, and the geometric means of each part and cell."""
    means: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for part, shape, candidates in shapes:
        best = next(each for each in candidates if each.title == title)
        found = {name: peer.best / best.best for name, peer in ratios(candidates).items() if name in peers}
        for name, ratio in found.items():
            means[part, shape.cell][name].append(ratio)
        yield row(
            f"{shape.cell} {shape.layers} × {shape.hidden_size}",
            PARTS[part],
            f"{best.best * 1e6:.3g} µs" if best.best < 1e-3 else f"{best.best * 1e3:.3g} ms",
            best.threads,
            *(f"{found[name]:.2f}" if name in found else "" for name in peers),
            f"{best.error:.0e}",
            f"{best.reached[best.threads]:.0%} of {best.held_by[best.threads]}",
        )
    for (part, cell), found_all in means.items():
        if len(next(iter(found_all.values()))) > 1:
            together = (f"**{geometric_mean(found_all[name]):.2f}**" if name in found_all else "" for name in peers)
            yield row(f"{cell}, geometric mean", PARTS[part], "", "", *together, "", "")


def row(*cells: object) -> str:
    """A line of a table."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def main() -> None:
    """Put the tables into the document."""
    paths = [Path(name) for name in sys.argv[1:]] or sys.exit(__doc__)
    text = DOCUMENT.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    DOCUMENT.write_text(before + "\n".join(tables(paths)) + after)


if __name__ == "__main__":
    main()
