"""Tries thousands of damaged inputs on the commands, and prints what became of them.

    python -m tests.faults.campaign --inputs 30000 --out fuzz.jsonl

Each input is a seed. Results are appended to the file, with the commit that they ran on, and a run that was interrupted
goes on where it was. Inputs run in a child process, many in one; it is killed where one hangs or takes too much memory,
and the next child goes on. `--again` tries those once more that did not go well; `--kinds` tries some kinds only, and
needs a file of its own for them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.fault_inputs import ALL, Kind, Originals, prepare
from tests.faults.fault_oracle import run
from tests.faults.forked_workers import forked_workers
from tests.faults.originals import make_originals

BYTES = 2 * 2**30
BASE = 3 * 2**29
"""What the processes take before the first input: the libraries, counted in each."""
AT_ONCE = 500
WAITING = 5
"""Times the seconds of computing that an input may take, it may last: the machine does other work, too."""
VERDICTS = ("good", "clear", "70", "traceback", "many lines", "hang", "memory", "loss", "crash")


def try_inputs(seeds: list[int], kinds: Sequence[Kind], originals: Originals, log: Path) -> None:
    """The child: run one input after another."""
    os.setpgid(0, 0)
    with forked_workers():
        _try_each(seeds, kinds, originals, Log(log))


def _try_each(seeds: list[int], kinds: Sequence[Kind], originals: Originals, log: Log) -> None:
    commit = this_commit()
    for seed in seeds:
        random = Random(seed)
        kind = kinds[random.randrange(len(kinds))]
        begun = {"seed": seed, "kind": kind.__name__, "started": time.time()}
        log.add(begun)
        with tempfile.TemporaryDirectory(prefix="rnnexport-fuzz-") as name:
            folder = Path(name)
            line: dict[str, Any] = {**begun, "commit": commit}
            try:
                line["command"] = prepare(kind, random, originals, folder)
                outcome = run(line["command"], folder)
                line |= {"verdict": outcome.verdict, "err": outcome.err[-2000:], "seconds": round(outcome.seconds, 2)}
                line["lost"] = outcome.lost[:5]
            except BaseException:
                line |= {"verdict": "traceback", "err": traceback.format_exc()[-2000:]}
        log.add(line)


def this_commit() -> str:
    """The commit of this checkout, with a plus where it is changed."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


class Log:
    """Results by seed, and the input that was begun last, while it has none; a line that was added is read once."""

    def __init__(self, path: Path) -> None:
        self.path, self._read = path, 0
        self.done: dict[int, dict[str, Any]] = {}
        self.begun: dict[str, Any] | None = None

    def read(self) -> Log:
        """Read what was added."""
        if self.path.exists():
            with self.path.open() as file:
                file.seek(self._read)
                for text in iter(file.readline, ""):
                    if not text.endswith("\n"):
                        break  # is being written
                    self._read += len(text.encode())
                    line = json.loads(text)
                    if "verdict" in line:
                        self.done[line["seed"]] = line
                    self.begun = None if "verdict" in line else line
        return self

    def add(self, line: dict[str, Any]) -> None:
        """Write a line."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def spent(pid: int) -> tuple[int, float]:
    """Resident bytes of a process and its descendants of two generations, and seconds that they computed."""
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    found: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
    children = {each for each, fields in found.items() if int(fields[1]) == pid}
    family = [found[each] for each in found if each in children | {pid} or int(found[each][1]) in children]
    return sum(int(fields[21]) for fields in family) * page, sum(int(t) for f in family for t in f[11:15]) / tick


def watch(child: multiprocessing.process.BaseProcess, log: Log, seconds: float) -> None:
    """Wait for the child; where an input hangs or takes too much, kill it and say so in the log."""
    begun, before = None, 0.0
    while child.is_alive():
        child.join(1)
        current = log.read().begun
        if current is None or not child.is_alive():
            continue
        resident, computed = spent(child.pid or 0)
        if begun != current["started"]:
            begun, before = current["started"], computed
        lasts = time.time() - current["started"]
        verdict = "hang" if computed - before > seconds or lasts > WAITING * seconds else None
        if verdict := "memory" if resident > BYTES + BASE else verdict:
            os.killpg(child.pid or 0, signal.SIGKILL)
            child.join()
            log.add({**current, "verdict": verdict, "commit": this_commit()})
            log.read()
            return
    if current := log.read().begun:
        log.add({**current, "verdict": "crash", "err": f"status {child.exitcode}", "commit": this_commit()})
        log.read()


def main() -> None:
    """Run what is not yet in the log, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=30_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz.jsonl"))
    parser.add_argument("--seconds", type=float, default=60, help="of computing, after which an input hangs")
    parser.add_argument("--originals", type=Path, default=None)
    parser.add_argument("--kinds", nargs="+", choices=[kind.__name__ for kind in ALL], help="default: all")
    parser.add_argument("--again", action="store_true", help="try those once more that did not go well")
    arguments = parser.parse_args()
    folder = arguments.originals or Path(tempfile.mkdtemp(prefix="rnnexport-originals-"))
    originals = make_originals(folder)
    log = Log(arguments.out).read()
    log.begun = None  # of a campaign that was interrupted
    kinds = [kind for kind in ALL if arguments.kinds is None or kind.__name__ in arguments.kinds]
    left = [*range(arguments.first, arguments.first + arguments.inputs)]
    left = [seed for seed in left if seed not in log.done or (arguments.again and not _went_well(log.done[seed]))]
    spawn = multiprocessing.get_context("spawn")
    while left:
        child = spawn.Process(target=try_inputs, args=(left[:AT_ONCE], kinds, originals, arguments.out))
        started = time.time()
        child.start()
        watch(child, log, arguments.seconds)
        tried = {seed for seed, line in log.done.items() if line["started"] >= started}
        if not tried:
            sys.exit(f"the process that tries inputs ended at its start: status {child.exitcode}")
        left = [seed for seed in left if seed not in tried]
    if arguments.originals is None:
        shutil.rmtree(folder)
    sys.exit(print_table(log.done))


def _went_well(line: dict[str, Any]) -> bool:
    return line["verdict"] in ("good", "clear")


def print_table(done: dict[int, dict[str, Any]]) -> int:
    """Print the verdicts of each kind of input, and how many ran on which commit; 1 where one is bad."""
    kinds = sorted({line["kind"] for line in done.values()})
    print("| input | inputs |", " | ".join(VERDICTS), "|")
    print("|---|---|" + "---|" * len(VERDICTS))
    for name in (*kinds, "all"):
        counts = Counter(line["verdict"] for line in done.values() if name in (line["kind"], "all"))
        print(f"| {name} | {sum(counts.values())} |", " | ".join(str(counts[verdict]) for verdict in VERDICTS), "|")
    commits = Counter(line["commit"] for line in done.values())
    print("; ".join(f"{count} on {commit}" for commit, count in commits.items()))
    return int(not all(map(_went_well, done.values())))


if __name__ == "__main__":
    main()
