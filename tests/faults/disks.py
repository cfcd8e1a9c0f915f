"""Runs commands on a full disk, on a read-only one and across two file systems, and looks at what is left.

    unshare --map-root-user --mount python -m tests.faults.disks --runs 100

After each: it ended with one of the statuses and a line, a bundle is an old one or a new one, whole; a training resumes
to the weights of an uninterrupted one once there is room; no process and no temporary folder is left.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.chaos import CODE, COMMANDS, MARK, end_processes, kept, prepare

DISKS = ("full", "full", "full, temporary files too", "read-only", "other file system")
VERDICTS = ("good", "status", "traceback", "loss", "process", "folder", "hang")
SHORTER = {"tune": ["--time-limit", "5", "--seconds", "0.05"], "bench": ["--seconds", "0.1"]}
ROOM = 64 << 20
MOST_FREE = 300_000
"""Bytes; no command needs more."""


def attempt(number: int, whole: Path, folder: Path) -> dict[str, Any]:
    """Run one command on one disk, and judge what is left."""
    random = Random(number)
    name, disk, free = random.choice([*COMMANDS]), random.choice(DISKS), random.randrange(MOST_FREE)
    disk_root, elsewhere = folder / "disk", folder / "elsewhere"
    _mount(disk_root, "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs")
    _mount(elsewhere, "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs")
    try:
        work = disk_root / "work"
        subprocess.run(["cp", "-r", whole, work], check=True)
        temporary = (disk_root if disk.endswith("too") else elsewhere) / "tmp"
        temporary.mkdir()
        before = (work / "bundle" / "manifest.json").read_bytes()
        if disk.startswith("full"):
            status = os.statvfs(disk_root)
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            _mount(disk_root, "-o", f"remount,size={used + free}")
        elif disk == "read-only":
            _mount(disk_root, "-o", "remount,ro")
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, *COMMANDS[name], *SHORTER.get(name, ())],
            cwd=work,
            env={**os.environ, "TMPDIR": str(temporary), MARK: str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _, said = process.communicate(timeout=240)
            verdict = ""
        except subprocess.TimeoutExpired:
            process.kill()
            said, verdict = process.communicate()[1], "hang"
        _mount(disk_root, "-o", f"remount,rw,size={ROOM}")
        if "Traceback (most recent call last)" in said:
            verdict = "traceback"
        elif process.returncode not in (0, 1, 2, 3) or (process.returncode and not said.strip()):
            verdict = "status"
        verdict = verdict or kept(name, process.returncode, work, before)
        if end_processes(f"{MARK}={folder}"):
            verdict = "process"
        elif [*temporary.iterdir()]:
            verdict = "folder"
    finally:
        for mounted in (disk_root, elsewhere):
            subprocess.run(["umount", "--lazy", mounted], check=True)
    facts = {"command": name, "disk": disk, "free": free, "status": process.returncode, "verdict": verdict}
    return {"number": number, **facts, "said": said[-300:]}


def _mount(target: Path, *options: str) -> None:
    subprocess.run(["mount", *options, target], check=True)


def main() -> None:
    """Run as often as asked, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(prefix="rnnexport-disks-") as name:
        whole, folder = Path(name, "whole"), Path(name)
        prepare(whole)
        for part in ("disk", "elsewhere"):
            (folder / part).mkdir()
        for number in range(arguments.first, arguments.first + arguments.runs):
            lines.append(attempt(number, whole, folder))
            if lines[-1]["verdict"] != "good":
                print(lines[-1], flush=True)
    print("| disk | runs | ended well |", " | ".join(VERDICTS), "|")
    print("|---|---|---|" + "---|" * len(VERDICTS))
    for disk in (*dict.fromkeys(DISKS), "all"):
        found = [line for line in lines if disk in (line["disk"], "all")]
        counts = Counter(line["verdict"] for line in found)
        well = sum(line["status"] == 0 for line in found)
        print(f"| {disk} | {len(found)} | {well} |", " | ".join(str(counts[verdict]) for verdict in VERDICTS), "|")
    sys.exit(any(line["verdict"] != "good" for line in lines))


if __name__ == "__main__":
    main()
