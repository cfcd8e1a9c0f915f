"""Writes the table of docs/reference/export.md, and its counts in README.md: what becomes of every case, here and by
PyTorch's own exporters.

    python -m benchmarks.export_table.write_table [--missing]

Every export runs in a process of its own, since PyTorch's exporters remember earlier ones. With `--missing`, rows that
the document has already are kept. It is written after each case, so a run that was ended goes on where it stood.
"""

from __future__ import annotations

import multiprocessing
import re
import sys
import tempfile
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"
ROOT = Path(__file__).resolve().parents[2]
DOCUMENT, README = ROOT / "docs/reference/export.md", ROOT / "README.md"
ROW = re.compile(r"\| \[\d+ modules, .*\n")
"""Of the README."""
FORKS = multiprocessing.get_context("forkserver")
COLUMNS = {
    "rnnexport": ["ONNX Runtime", "OpenVINO", "OpenVINO, static"],
    "torch.onnx.export": ["ONNX Runtime", "OpenVINO"],
    "torch.onnx.export, dynamo=False": ["ONNX Runtime", "OpenVINO"],
}


def judge(name: str, exporter: str) -> dict[str, str]:
    """Export one case with one exporter, and run what came out."""
    import torch

    import rnnexport
    from benchmarks.export_table.outcomes import outcome, specs
    from benchmarks.export_table.pytorch_cases import ALL_CASES
    from benchmarks.export_table.stock import EXPORTERS, stock_export
    from rnnexport.errors import RnnexportError

    case = next(case for case in ALL_CASES if case.name == name)
    torch.manual_seed(0)
    module = case.make()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "b", "model.onnx")
        try:
            if exporter == "rnnexport":
                rnnexport.export(module, path.parent, inputs=specs(case))
            else:
                path.parent.mkdir()
                stock_export(module, case, path, dynamo=EXPORTERS[exporter])
        except Exception as exc:
            print(f"{name}, {exporter}: {type(exc).__name__}: {exc}"[:300], file=sys.stderr)
            if exporter == "rnnexport" and not isinstance(exc, RnnexportError):
                raise
            return dict.fromkeys(COLUMNS[exporter], "refused" if exporter == "rnnexport" else "no file")
        torch.manual_seed(0)
        judged_by = case.make()  # an exporter may leave its module in a state that cannot be copied
        return {runtime: outcome(judged_by, case, path, runtime) for runtime in COLUMNS[exporter]}


def judge_apart(name: str, exporter: str) -> dict[str, str]:
    """As `judge`, in a process of its own, which may crash; PyTorch is loaded in it from the start."""
    answers, sender = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_judge_into, args=(sender, name, exporter))
    process.start()
    sender.close()
    try:
        found: dict[str, str] = answers.recv() if answers.poll(600) else dict.fromkeys(COLUMNS[exporter], "hangs")
    except EOFError:
        found = dict.fromkeys(COLUMNS[exporter], "crash")
    process.kill()
    process.join()
    return found


def _judge_into(sender: Connection, name: str, exporter: str) -> None:
    sender.send(judge(name, exporter))


def table(rows: dict[str, dict[str, dict[str, str]]]) -> str:
    """The table as Markdown, with the counts of each column below."""
    columns = [(exporter, runtime) for exporter, runtimes in COLUMNS.items() for runtime in runtimes]
    lines = [
        f"| case | {' | '.join(f'`{e}`<br>{r}' if '.' in e else f'{e}<br>{r}' for e, r in columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    lines += [f"| {name} | {' | '.join(row[e][r] for e, r in columns)} |" for name, row in rows.items()]
    counts = [Counter(row[e][r] for row in rows.values()) for e, r in columns]
    shown = ["<br>".join(f"{count} {word}" for word, count in sorted(counter.items())) for counter in counts]
    return "\n".join([*lines, f"| **{len(rows)} cases** | {' | '.join(shown)} |"]) + "\n"


def readme_row(document: str) -> str:
    """The counts of the document's table as the README tells them."""
    last = re.search(r"^\| \*\*(\d+) cases\*\* \|(.*)\|$", document, re.MULTILINE)
    assert last is not None
    cells = [{word: count for count, word in re.findall(r"(\d+) ([^<|]*[^<| ])", cell)} for cell in last[2].split("|")]
    ours, new, old, old_openvino = cells[0], cells[3], cells[5], cells[6]
    others = f"`torch.onnx.export`: {new['right']} right; with `dynamo=False`: {old['right']} right"
    others += f", {old.get('**wrong**', 0)} silently wrong, in OpenVINO {old_openvino.get('**wrong**', 0)}"
    refused = f", {ours['refused']} refused with the reason" if "refused" in ours else ""
    counts = f"{ours['right']} right{refused}"
    title = f"[{last[1]} modules, each at sizes that the example had not](docs/reference/export.md)"
    return f"| {title} | {counts} | {others} |\n"


def known_rows(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """The rows of the document's table."""
    columns = [(exporter, runtime) for exporter, runtimes in COLUMNS.items() for runtime in runtimes]
    rows: dict[str, dict[str, dict[str, str]]] = {}
    for name, cells in re.findall(r"^\| ([^|*]+) \| (.+) \|$", text.partition(BEGIN)[2], re.MULTILINE):
        words = cells.split(" | ")
        if name != "case" and len(words) == len(columns):
            rows[name] = {exporter: {} for exporter in COLUMNS}
            for (exporter, runtime), word in zip(columns, words, strict=True):
                rows[name][exporter][runtime] = word
    return rows


def main() -> None:
    """Judge the cases with every exporter, and write the document."""
    from benchmarks.export_table.pytorch_cases import ALL_CASES

    FORKS.set_forkserver_preload(
        ["torch.onnx", "onnxscript", "rnnexport.capture.capturing", "onnx.checker", "onnxruntime", "openvino"]
    )
    names = [case.name for case in ALL_CASES]
    known = known_rows(DOCUMENT.read_text(encoding="utf-8")) if "--missing" in sys.argv else {}
    rows = {name: row for name, row in known.items() if name in names}
    for name in (name for name in names if name not in rows):
        rows[name] = {exporter: judge_apart(name, exporter) for exporter in COLUMNS}
        print(name, rows[name], flush=True)
        write_documents({each: rows[each] for each in names if each in rows})


def write_documents(rows: dict[str, dict[str, dict[str, str]]]) -> None:
    """Put the rows into the page and their counts into the README."""
    text = DOCUMENT.read_text(encoding="utf-8")
    written = text.split(BEGIN)[0] + BEGIN + table(rows) + END + text.split(END)[1]
    DOCUMENT.write_text(written, encoding="utf-8")
    row, readme = readme_row(written), README.read_text(encoding="utf-8")
    README.write_text(ROW.sub(lambda _: row, readme), encoding="utf-8")


if __name__ == "__main__":
    main()
