"""Writes the table of docs/results/wild-models.md: what becomes of recurrent modules of published packages.

    python -m benchmarks.wild_models.write_table FOLDER LOG

FOLDER holds the packages. Every module is exported and run in a process of its own, and its outcome is appended to LOG,
from which a later call resumes. `nox -s wild_models` runs it.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from torch import nn

import rnnexport
from benchmarks.wild_models.absent import let_absent
from benchmarks.wild_models.modules import MODULES as FIRST_MODULES
from benchmarks.wild_models.modules import Wild
from benchmarks.wild_models.more_modules import MODULES as MORE_MODULES
from benchmarks.wild_models.outcomes import first_difference
from rnnexport.capture import capture, parse_input_spec
from rnnexport.errors import RnnexportError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/results/wild-models.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"
MODULES = [*FIRST_MODULES, *MORE_MODULES]
Outcome = dict[str, str]


def judge(wild: Wild) -> Outcome:
    """Export one module and run what came out, at sizes that the export did not draw."""
    torch.manual_seed(0)
    module = wild.make()
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundle = rnnexport.export(module, Path(folder, "b"), inputs=wild.inputs, on_note=notes.append)
        except RnnexportError as exc:
            return {"verdict": "refused", "says": _without_folders(str(exc))}
        difference = first_difference(module, wild.inputs, bundle)
        if difference:
            return {"verdict": "**wrong**", "says": difference}
        others = [name for name, text in bundle.manifest.runtimes.items() if text != "right"]
        ranges = [size.removeprefix("the module takes ") for size in notes if size.startswith("the module takes ")]
        return {"verdict": "right", "says": "; ".join([*ranges, *(f"{name} does not run it" for name in others)])}


def judge_apart(number: int, context: Any) -> Outcome:
    """As `judge`, in a process of its own, which may crash."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(number, theirs))
    process.start()
    theirs.close()
    try:
        outcome: Outcome = ours.recv()
    except EOFError:
        outcome = {"verdict": "**crash**", "says": "see the session's output"}
    process.join()
    return outcome


def _send(number: int, pipe: Any) -> None:
    warnings.simplefilter("ignore")
    pipe.send(judge(MODULES[number]))


def table(outcomes: list[Outcome], folder: str) -> str:
    """The table as Markdown, and the versions."""
    lines = ["| package | module | | |", "|---|---|---|---|"]
    for wild, outcome in zip(MODULES, outcomes, strict=True):
        says = outcome["says"].replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {wild.package} | {wild.name} | {outcome['verdict']} | {says} |")
    counts = Counter(outcome["verdict"] for outcome in outcomes)
    lines.append(f"| **{len({w.package for w in MODULES})} packages** | **{len(MODULES)} modules** "
                 f"| {', '.join(f'{count} {verdict}' for verdict, count in counts.most_common())} | |")  # fmt: skip
    found = {distribution.metadata["Name"]: distribution.version for distribution in distributions(path=[folder])}
    versions = sorted(f"{name} {version}" for name, version in found.items())
    return "\n".join([*lines, "", f"Versions: {', '.join(versions)}."]) + "\n"


def _without_folders(text: str) -> str:
    """`/home/…/speechbrain/nnet/RNN.py:12: …` → `speechbrain/nnet/RNN.py:12: …`."""
    before, found, after = text.partition(f"{sys.argv[1]}/")
    return before.rpartition(" ")[0] + after if found else text


def main() -> None:
    """Judge all modules and write the document."""
    folder, log = sys.argv[1], Path(sys.argv[2])
    sys.path.insert(0, folder)
    absent, bare = (
        Path(__file__).with_name(f"{kind}.txt").read_text(encoding="utf-8").split() for kind in ("absent", "bare")
    )
    let_absent(absent, bare)
    known = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    outcomes: dict[str, Outcome] = {entry["module"]: entry for entry in known}
    capture(nn.GRU(3, 4), [parse_input_spec("input:float32[time,batch,3]")])  # imports what the processes then share
    context = multiprocessing.get_context("fork")

    def finished(number: int) -> None:
        name = f"{MODULES[number].package}: {MODULES[number].name}"
        if name not in outcomes:
            outcomes[name] = judge_apart(number, context) | {"module": name}
            print(outcomes[name], flush=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(outcomes[name]) + "\n")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(finished, range(len(MODULES))))
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    written = table([outcomes[f"{wild.package}: {wild.name}"] for wild in MODULES], folder)
    DOCUMENT.write_text(before + BEGIN + written + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
