"""Tries thousands of damaged inputs on the commands, and prints what became of them.

    python -m tests.faults.campaign --inputs 30000 --out fuzz.jsonl

Each input is a seed. Results are appended to the file, and a run that was interrupted goes on where it was. Inputs run
in a child process, many in one; it is killed where one hangs or takes too much memory, and the next child goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from tests.faults.fault_inputs import ALL, Originals, prepare
from tests.faults.fault_oracle import run
from tests.faults.originals import make_originals

BYTES = 2 * 2**30
AT_ONCE = 200
VERDICTS = ("good", "clear", "70", "traceback", "many lines", "hang", "memory", "loss", "crash")


def try_inputs(seeds: list[int], originals: Originals, log: Path) -> None:
    """The child: run one input after another."""
    os.setpgid(0, 0)
    for seed in seeds:
        random = Random(seed)
        kind = ALL[random.randrange(len(ALL))]
        with log.open("a") as file:
            file.write(json.dumps({"seed": seed, "kind": kind.__name__, "started": time.time()}) + "\n")
        with tempfile.TemporaryDirectory(prefix="rnnexport-fuzz-") as name:
            folder = Path(name)
            command = []
            try:
                command = prepare(kind, random, originals, folder)
                outcome = run(command, folder)
                line = {"verdict": outcome.verdict, "err": outcome.err[-2000:], "seconds": round(outcome.seconds, 2)}
                line["lost"] = outcome.lost[:5]
            except BaseException:
                line = {"verdict": "traceback", "err": traceback.format_exc()[-2000:]}
        with log.open("a") as file:
            file.write(json.dumps({"seed": seed, "kind": kind.__name__, "command": command, **line}) + "\n")


def read_log(log: Path) -> tuple[dict[int, dict], dict[int, dict]]:
    """Results by seed, and inputs that were begun."""
    done, begun = {}, {}
    if log.exists():
        for text in log.read_text().splitlines():
            line = json.loads(text)
            (done if "verdict" in line else begun)[line["seed"]] = line
    return done, begun


def memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat.parent.name) == pid or int(fields[1]) == pid:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def watch(child: multiprocessing.Process, log: Path, base: int, seconds: float) -> None:
    """Wait for the child; where an input hangs or takes too much, kill it and say so in the log."""
    while child.is_alive():
        child.join(0.5)
        done, begun = read_log(log)
        current = next((line for seed, line in begun.items() if seed not in done), None)
        if current is None or not child.is_alive():
            continue
        verdict = "hang" if time.time() - current["started"] > seconds else None
        verdict = "memory" if memory(child.pid or 0) > base + BYTES else verdict
        if verdict:
            os.killpg(child.pid or 0, signal.SIGKILL)
            child.join()
            with log.open("a") as file:
                file.write(json.dumps({**current, "verdict": verdict}) + "\n")
            return
    done, begun = read_log(log)
    with log.open("a") as file:
        for seed, line in begun.items():
            if seed not in done:
                file.write(json.dumps({**line, "verdict": "crash", "err": f"status {child.exitcode}"}) + "\n")


def main() -> None:
    """Run what is not yet in the log, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=30_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz.jsonl"))
    parser.add_argument("--seconds", type=float, default=60, help="after which an input hangs")
    parser.add_argument("--originals", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.originals or Path(tempfile.mkdtemp(prefix="rnnexport-originals-"))
    originals = make_originals(folder)
    seeds = range(arguments.first, arguments.first + arguments.inputs)
    fork = multiprocessing.get_context("spawn")
    while left := sorted(set(seeds) - read_log(arguments.out)[0].keys()):
        child = fork.Process(target=try_inputs, args=(left[:AT_ONCE], originals, arguments.out))
        child.start()
        watch(child, arguments.out, 2**30, arguments.seconds)
    if arguments.originals is None:
        shutil.rmtree(folder)
    sys.exit(print_table(read_log(arguments.out)[0]))


def print_table(done: dict[int, dict]) -> int:
    """Print the verdicts of each kind of input; 1 where one is bad."""
    kinds = sorted({line["kind"] for line in done.values()})
    print("| input | inputs |", " | ".join(VERDICTS), "|")
    print("|---|---|" + "---|" * len(VERDICTS))
    for name in (*kinds, "all"):
        counts = Counter(line["verdict"] for line in done.values() if name in (line["kind"], "all"))
        print(f"| {name} | {sum(counts.values())} |", " | ".join(str(counts[verdict]) for verdict in VERDICTS), "|")
    return int(any(line["verdict"] not in ("good", "clear") for line in done.values()))


if __name__ == "__main__":
    main()
