"""`rnnexport report`: what the page says, and that nothing in it can hurt a reader."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.bundle.store import seal
from rnnexport.report.page.writing import markdown_text
from tests.command_line import Run
from tests.evidence import EVIDENCE, export_again
from tests.report import kept
from tests.report.pages import Page, faults

HOSTILE = "<script>alert(1)</script>\"' onload=x $x_{1$ | **b** `c` \x1b[31m {{ 7*7 }} _y"


def html_of(run: Run, tmp_path: Path, *arguments: object) -> str:
    outcome = run("report", *arguments, "-o", tmp_path / "page.html")
    assert (outcome.status, outcome.out) == (0, ""), outcome.err
    assert outcome.err == f"the report is in {tmp_path / 'page.html'}\n"
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def headings(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)


def summary(text: str) -> list[list[str]]:
    """The cells of the table that people look for."""
    (section,) = re.findall(r'<section id="summary">(.*?)</section>', text, re.DOTALL)
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", section, re.DOTALL)
    return [[Page(cell).text for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def test_the_page_of_a_bundle_is_whole_and_in_order(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    seal(bundle.path, bundle.manifest.model_copy(update={"runtimes": {"openvino": "does not load it"}}))
    bundle = load_bundle(bundle.path)
    kept.fill(bundle)
    kept.fill_loads(bundle)
    assert run("show", bundle.path).out.count("current") == 8
    text = html_of(run, tmp_path, bundle.path)
    assert faults(text) == []
    assert headings(text) == [
        *("Summary", "Error by output", "Error over time", "Latency", "Streams, requests, mixed lengths"),
        "What the machine could do",
        *("The plan, and what else was tried", "Training", "What the graph is like", "Environment and versions"),
        "Commands",
    ]
    page = Page(text)
    assert page.text.index("gru is right in all 3 runtimes") < page.text.index("Summary Error by output")
    assert len(page.all("svg")) == 8
    assert "ort-cpu is the fastest, 100 µs for a call of batch 1 and 25 time steps" in page.text
    assert "its error is bounded over 1,000 steps; its plan, scan, int8 in ort-cpu, is 2× as fast" in page.text
    assert "lasts, 10 ms" in page.text
    assert "openvino-cpu keeps up with 4 streams, ort-cpu keeps up with 8 streams and torch-cpu" in page.text
    assert "The most that each holds within it: openvino-cpu 400/s, ort-cpu 400/s and torch-cpu 400/s" in page.text
    assert "ort-cpu takes 3× as long for a new one; call it once with each length" in page.text
    assert "torch-cpu: the process ended" in page.text
    assert "bench-streaming.json" in page.text  # among the commands
    assert (
        "Conformance: what each runtime made of it at the export runtime finding openvino does not load it" in page.text
    )
    assert "<code>rnnexport verify</code>" in text  # of lint's line
    assert "too slow" in page.text  # why a candidate was dropped
    assert "onnxruntime 1.32.0" in page.text


@pytest.mark.slow
def test_the_summary_has_a_row_for_each_runtime_and_marks_the_best(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    kept.fill(bundle)
    head, *cells = summary(html_of(run, tmp_path, bundle.path))
    assert [cell.partition(",")[0] for cell in head[:3]] == ["runtime", "batch × time", "parity"]
    rows = [dict(zip(head, row, strict=True)) for row in cells]
    assert [row["runtime"] for row in rows] == ["openvino-cpu", "ort-cpu", "torch-cpu"]  # in order, not as measured
    assert [row["standing"] for row in rows] == ["2× as long", "best", "4× as long"]
    assert {row["largest error, × float32's own"] for row in rows} == {"1.5×"}
    assert {row["parity"] for row in rows} == {"right"}
    assert {row["memory"] for row in rows} == {"95.4 MiB"}


def test_what_nobody_can_tell_is_said(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    path = str(bundle.path)
    kept.keep(bundle, "parity.json", kept.parity(path, {"a": 1.0, "b": 1.0}))
    report = kept.bench(path, {"a": 100.0, "b": 103.0})
    short = [row.model_copy(update={"repetitions": row.repetitions[:1]}) for row in report.measurements]
    for row in short:
        row.repetitions[0].windows_ns, row.repetitions[0].pulses_ns = row.repetitions[0].windows_ns[:3], [5e4] * 3
    kept.keep(bundle, "bench.json", report.model_copy(update={"measurements": short}))
    text = html_of(run, tmp_path, bundle.path)
    assert [row[6] for row in summary(text)[1:]] == ["cannot tell"] * 2
    assert "nobody can tell which runtime is the fastest" in Page(text).text
    assert 'class="best"' not in text


def test_a_wrong_runtime_is_never_the_best(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    path = str(bundle.path)
    kept.keep(bundle, "parity.json", kept.parity(path, {"fast": 50.0, "slow": 1.0}))
    kept.keep(bundle, "bench.json", kept.bench(path, {"fast": 10.0, "slow": 100.0}))
    text = html_of(run, tmp_path, bundle.path)
    fast, slow = summary(text)[1:]
    assert (fast[2], fast[6], slow[6]) == ("WRONG", "-", "the only one")
    assert "Wrong. gru is wrong in fast, right in slow" in Page(text).text


def test_a_bundle_without_evidence_says_what_to_run(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    text = html_of(run, tmp_path, bundle.path)
    assert faults(text) == []
    said = Page(text).text
    assert "Not proven. Nobody has verified gru yet; run: rnnexport verify" in said
    for command in ("drift", "bench", "tune", "lint"):
        assert f"Not measured. Run: rnnexport {command} {bundle.path}" in said


def test_stale_and_damaged_evidence_is_marked(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    kept.fill(bundle)
    export_again(bundle)
    (bundle.path / "lint.json").write_text("{")
    text = html_of(run, tmp_path, bundle.path)
    assert faults(text) == []
    said = Page(text).text
    assert "Not proven. The proof of gru is of an earlier export" in said
    assert "Stale: bench.json is of an earlier export" in said
    assert "lint.json cannot be read." in said


@pytest.mark.slow
def test_two_bundles_stand_side_by_side(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    kept.fill(bundle)
    other = tmp_path / "other" / "gru"
    shutil.copytree(reference_bundles()[1], other, ignore=EVIDENCE)
    kept.fill(load_bundle(other), ["ort-cpu"])
    text = html_of(run, tmp_path, bundle.path, other)
    assert faults(text) == []
    assert [row[0] for row in summary(text)[1:]] == [str(bundle.path)] * 3 + [str(other)]
    assert len(Page(text).all("svg")) == 10


@pytest.mark.slow
def test_an_earlier_run_stands_beside_this_one(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    kept.fill(bundle)
    earlier = tmp_path / "before.json"
    earlier.write_text(kept.bench(str(bundle.path), {"ort-cpu": 50.0}, seed=1).model_dump_json())
    text = html_of(run, tmp_path, bundle.path, "--compare", earlier)
    assert faults(text) == []
    said = Page(text).text
    assert re.search(r"gru in ort-cpu gru in ort-cpu 1 × 25 × [12]\.\d+ \S+ \S+ slower", said)
    assert "there is no such row to compare with" in said


def test_names_from_outside_are_text_and_nothing_else(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    path = str(bundle.path)
    for name, report in {
        "parity.json": kept.parity(path, {HOSTILE: 50.0, "b": 1.0}, [HOSTILE, "logits"]),
        "bench.json": kept.bench(path, {HOSTILE: 100.0, "b": 200.0}, [1, 4]),
        "drift.json": kept.drift(path, [HOSTILE, "_b"]),
        "tune.json": kept.tune(path, HOSTILE),
        "lint.json": kept.lint(HOSTILE),
    }.items():
        kept.keep(bundle, name, report)
    text = html_of(run, tmp_path, bundle.path)
    assert faults(text) == []
    shown = " ".join(HOSTILE.replace("\x1b", r"\x1b").split())
    assert Page(text).text.count(shown) > 5
    assert "\x1b" not in text
    markdown = run("report", bundle.path, "--format", "md").out
    assert "<script" not in markdown
    assert "\x1b" not in markdown
    (row,) = [line for line in markdown.splitlines() if "alert" in line and "WRONG" in line][:1]
    assert len(re.findall(r"(?<!\\)\|", row)) == 12  # the name's own is escaped


def test_markdown_has_the_verdict_the_table_and_the_commands(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    kept.fill(bundle)
    outcome = run("report", bundle.path, "--format", "md")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "## gru"
    assert lines[2].startswith("**Right.** gru is right in all 3 runtimes")
    rows = [line for line in lines if line.startswith("| ")]
    assert {line.count("|") for line in rows[:5]} == {12}
    assert "**best**" in rows[3]
    assert len(outcome.out) < 65_536  # what GitHub takes as a comment
    run("report", bundle.path, "--format", "md", "-o", tmp_path / "out.md")
    assert (tmp_path / "out.md").read_text(encoding="utf-8").strip() == outcome.out.strip()


@pytest.mark.slow
@given(text=st.text())
def test_markdown_shows_text_in_one_line_as_it_is(text: str) -> None:
    shown = markdown_text(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|*`\[\]]", shown.replace("\\\\", ""))
    assert "<" not in shown
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "nowhere/page.html"], "there is no folder"),
        (["-o", "."], "is a folder; give the file a name"),
        (["--compare", "nowhere.json"], "nowhere.json cannot be read"),
        (["--format", "pdf"], "Invalid value for '--format'"),
    ],
)
def test_a_wrong_call_is_refused_and_writes_nothing(
    run: Run, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    outcome = run("report", bundle.path, *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err
    assert list((tmp_path / "here").iterdir()) == []


def test_without_matplotlib_a_page_says_what_to_install_and_markdown_needs_none(
    run: Run, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept.fill(bundle)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = run("report", bundle.path, "-o", tmp_path / "page.html")
    assert outcome.status == 2
    assert "pip install 'rnnexport[plot]'" in outcome.err
    assert run("report", bundle.path, "--format", "md").status == 0


def test_what_is_too_large_to_send_is_not_written(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    many = {f"runtime {number} {'x' * 3000}": 1.0 for number in range(400)}
    kept.keep(bundle, "parity.json", kept.parity(str(bundle.path), many))
    outcome = run("report", bundle.path, "--format", "md", "-o", tmp_path / "out.md")
    assert outcome.status == 2
    assert "more than 1 MB; name fewer bundles" in outcome.err
    assert not (tmp_path / "out.md").exists()
