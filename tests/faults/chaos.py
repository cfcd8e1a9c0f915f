"""Kills and interrupts commands at drawn moments, and looks at what is left.

    python -m tests.faults.chaos --kills 500 --out chaos.jsonl

After each: a bundle is an old one or a new one, whole; a training resumes to the weights of an uninterrupted one; no
process and, but for SIGKILL, no temporary folder is left. Results are appended, and a run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from rnnexport.bundle.bundle import load_bundle, reference_bundles
from rnnexport.errors import BundleError
from rnnexport.training.training import train
from tests.evidence import EVIDENCE

GRU = reference_bundles()[1]
MARK = "RNNEXPORT_CHAOS"
"""A variable that every process inherits."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CODE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom rnnexport.cli import main; main()"
TRAIN = ["--task", "article", "--cell", "gru", "--epochs", "30", "--hidden-size", "4"]
COMMANDS = {
    "export": ["export", "--checkpoint", "checkpoint", "--streaming", "--out", "bundle"],
    "train": ["train", *TRAIN, "--out", "training"],
    "tune": ["tune", "bundle", "-r", "ort-cpu", "--time-limit", "20", "--seconds", "0.1"],
    "bench": ["bench", "bundle", "-r", "ort-cpu", "--seconds", "2"],
    "compare": ["compare", "--task", "article", "--seeds", "2", "--epochs", "3"],
}
VERDICTS = ("good", "status", "traceback", "loss", "process", "folder", "hang")
LONGEST_SECONDS = {"export": 15, "train": 12, "tune": 25, "bench": 15, "compare": 30}
"""Moments are drawn up to here; a command that has ended by then was not interrupted, and must have gone well."""


def strike(number: int, whole: Path) -> dict[str, Any]:
    """Interrupt one command, and judge what is left."""
    random = Random(number)
    name, how = random.choice([*COMMANDS]), random.choice(SIGNALS)
    with tempfile.TemporaryDirectory(prefix="rnnexport-chaos-") as folder:
        work, temporary = Path(folder) / "work", Path(folder) / "tmp"
        shutil.copytree(whole, work)
        temporary.mkdir()
        before = (work / "bundle" / "manifest.json").read_bytes()
        resume = ["--resume"] if name == "train" and (work / "training" / "trainer").exists() else []
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, *COMMANDS[name], *resume],
            cwd=work,
            env={**os.environ, "TMPDIR": str(temporary), MARK: folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        moment = random.uniform(0, LONGEST_SECONDS[name])
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
        try:
            _, said = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return _line(number, name, how, moment, "hang", "")
        time.sleep(1)
        verdict = _judged(name, how, process.returncode, said, work, before)
        if end_processes(f"{MARK}={folder}"):
            verdict = "process"
        elif how is not signal.SIGKILL and [*temporary.iterdir()]:
            verdict = "folder"
        return _line(number, name, how, moment, verdict, said[-1000:])


def _line(number: int, name: str, how: signal.Signals, moment: float, verdict: str, said: str) -> dict[str, Any]:
    facts = {"command": name, "signal": how.name, "moment": round(moment, 2), "verdict": verdict}
    return {"number": number, **facts, "said": said if verdict != "good" else ""}


def _judged(name: str, how: signal.Signals, status: int, said: str, work: Path, before: bytes) -> str:
    expected = {0, -how if how is signal.SIGKILL else 128 + how}
    if "Traceback (most recent call last)" in said:
        return "traceback"
    if status not in expected and not (status < 0 and -status == how):  # before the command had installed its handlers
        return "status"
    return kept(name, status, work, before)


def kept(name: str, status: int, work: Path, before: bytes) -> str:
    """Whether a command that ended with `status` has left bundle and training as they were, or new and whole."""
    try:
        load_bundle(work / "bundle")
    except BundleError:
        return "loss"
    if name != "export" and (work / "bundle" / "manifest.json").read_bytes() != before:
        return "loss"
    if name == "train" and status != 0:
        resume = (work / "training" / "trainer" / "last.ckpt").exists()
        train("article", "gru", epochs=30, hidden_size=4, out=work / "training", resume=resume)
    if name == "train":
        weights = [(work / each / "model.safetensors").read_bytes() for each in ("training", "uninterrupted")]
        return "good" if weights[0] == weights[1] else "loss"
    return "good"


def end_processes(mark: str) -> int:
    """Kill the processes that inherited the mark in their environment, and count them."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
                count += 1
        except OSError:
            continue
    return count


def prepare(folder: Path) -> None:
    """Lay out what the commands work on."""
    (folder / "checkpoint").mkdir(parents=True)
    shutil.copyfile(GRU / "weights.safetensors", folder / "checkpoint" / "model.safetensors")
    for name in ("model.json", "evaluation.npz"):
        shutil.copyfile(GRU / name, folder / "checkpoint" / name)
    shutil.copytree(GRU, folder / "bundle", ignore=EVIDENCE)
    train("article", "gru", epochs=30, hidden_size=4, out=folder / "uninterrupted")


def main() -> None:
    """Strike as often as asked, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("chaos.jsonl"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rnnexport-chaos-originals-") as name:
        whole = Path(name) / "whole"
        prepare(whole)
        for number in range(arguments.first, arguments.first + arguments.kills):
            if number not in {line["number"] for line in _read(arguments.out)}:
                line = strike(number, whole)
                with arguments.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    lines = _read(arguments.out)
    print("| command | signals |", " | ".join(VERDICTS), "|")
    print("|---|---|" + "---|" * len(VERDICTS))
    for name in (*COMMANDS, "all"):
        counts = Counter(line["verdict"] for line in lines if name in (line["command"], "all"))
        print(f"| {name} | {sum(counts.values())} |", " | ".join(str(counts[verdict]) for verdict in VERDICTS), "|")
    sys.exit(any(line["verdict"] != "good" for line in lines))


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
