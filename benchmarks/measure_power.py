"""How often `bench` cries wolf, and how often it sees a wolf: false alarms at A/A, and a planted tenth more found.

    python benchmarks/measure_power.py [--runs 100] [--seconds 0.3] [--out FILE.jsonl]

Each run measures one model as `plain`, once more as `again`, and as `slowed`, an engine whose calls take a tenth longer
(`plugins/slowed_engine.py`). *Side by side* judges within a run, as `--against` does; *separate* judges a run and the
one before it, as `--compare` does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

PLUGINS = Path(__file__).parents[1] / "tests" / "plugins" / "slowed_engine"
ENGINES = {"plain": "onnxruntime", "again": "onnxruntime", "slowed": "slowed"}


def main() -> None:
    """Measure and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--out", type=Path, default=Path("power.jsonl"))
    arguments = parser.parse_args()
    sys.path.insert(0, str(PLUGINS))
    os.environ["PYTHONPATH"] = str(PLUGINS)
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        runtimes = [str(write_runtime(Path(folder), name)) for name in ENGINES]
        measure(runtimes, arguments.runs, arguments.seconds, arguments.out.resolve(), found)
    for kind, outcomes in found.items():
        print(f"{kind}: {sum(outcomes.values())} runs: {dict(outcomes)}")


def write_runtime(folder: Path, name: str) -> Path:
    """Write the definition of one of the three runtimes."""
    path = folder / f"{name}.toml"
    path.write_text(f'engine = "{ENGINES[name]}"\nprecision = "float32"\n', encoding="utf-8")
    return path


def measure(runtimes: list[str], runs: int, seconds: float, out: Path, found: dict[str, Counter[str]]) -> None:
    """Run and judge; each run is a line of `out`."""
    import rnnexport
    from rnnexport.benchmark.verdicts import judge
    from rnnexport.bundle.bundle import reference_bundles

    before = None
    for number in range(runs):
        report = rnnexport.bench([reference_bundles()[1]], runtimes, seconds=seconds)
        rows = {row.definition.name: row.repetitions for row in report.measurements}
        pairs = {
            "A/A side by side": (rows["plain"], rows["again"]),
            "+10 % side by side": (rows["plain"], rows["slowed"]),
        }
        if before is not None:
            pairs |= {"A/A separate": (before, rows["again"]), "+10 % separate": (before, rows["slowed"])}
        verdicts = {kind: judge(*pair) for kind, pair in pairs.items()}
        for kind, verdict in verdicts.items():
            found.setdefault(kind, Counter())[verdict.outcome] += 1
        before = rows["plain"]
        with out.open("a", encoding="utf-8") as file:
            load = report.conditions.load_average
            line = {"load": load, **{kind: verdict.model_dump() for kind, verdict in verdicts.items()}}
            file.write(json.dumps(line) + "\n")
        print(f"{number + 1} of {runs}", {kind: dict(outcomes) for kind, outcomes in found.items()}, file=sys.stderr)


if __name__ == "__main__":
    main()
