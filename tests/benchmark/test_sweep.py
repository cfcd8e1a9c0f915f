"""Sweeps over bare layers: who takes part, what is kept, and how a run goes on after an interrupt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rnnexport.benchmark.deepbench import LayerShape, deepbench_shapes
from rnnexport.benchmark.results_log import ResultsLog
from rnnexport.benchmark.sweep import sweep
from rnnexport.errors import InputError

QUICK: dict[str, Any] = {"seconds": 0.02, "repetitions": 1}
SHAPES = [LayerShape("gru", 8, 2, 5), LayerShape("gru", 8, 1, 3)]


def test_deepbench_has_its_shapes_and_a_part_that_is_quick() -> None:
    every, part = deepbench_shapes(every=True), deepbench_shapes()
    assert len(every) == len(set(every)) == 69  # 70, of which server and device share one
    assert LayerShape("gru", 2816, 4, 1500) in every
    assert set(part) < set(every)
    assert 15 < len(part) <= 24
    assert {shape.cell for shape in part} == {"lstm", "gru"}


def interrupt_second(message: str) -> None:
    if "2 of 2" in message:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_all_peers_are_measured_and_an_interrupted_sweep_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "sweep.jsonl"
    with pytest.raises(KeyboardInterrupt):
        sweep(SHAPES, ["ort-cpu"], out=out, on_progress=interrupt_second, **QUICK)
    with out.open("a") as file:
        file.write('{"shape": "cut o')  # as a kill in the middle of a line leaves it
    said: list[str] = []
    report = sweep(SHAPES, ["ort-cpu"], out=out, resume=True, on_progress=said.append, **QUICK)
    assert said == ["gru-8 batch=1 time=3 (1 of 1)"]
    first = [row for row in report.measurements if row.batch_size == 2]
    assert [(row.bundle, row.definition.name) for row in first] == [
        ("gru-8, torch", "torch-cpu"),
        ("gru-8, stock export", "ort-cpu"),
        ("gru-8, rnnexport", "ort-cpu"),
    ]
    assert all(row.median_ns for row in report.measurements), [row.failure for row in report.measurements]
    assert [json.loads(line).get("shape") for line in out.read_text().splitlines()] == [None, *map(str, SHAPES)]


def test_a_journal_keeps_whole_lines_and_drops_one_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    first = ResultsLog(path, {"seconds": 1}, resume=False)
    for number in range(2):
        first.append({"shape": number})
    with path.open("a") as file:
        file.write('{"shape": "cut o')  # as a kill in the middle of a line leaves it
    again = ResultsLog(path, {"seconds": 1}, resume=True)
    again.append({"shape": 2})
    assert again.lines == [{"shape": 0}, {"shape": 1}]
    assert [line["shape"] for line in ResultsLog(path, {"seconds": 1}, resume=True).lines] == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "resume", "message"),
    [
        ("", False, "exists; go on with `resume`"),
        ("no results_log\n", True, "is no results log"),
        ('{"schema_version": 9, "settings": {}}\n', True, "is schema 9, this version reads 1"),
        ('{"schema_version": 1, "settings": {"seconds": 9}}\n', True, "was begun with another"),
    ],
)
def test_another_file_is_not_overwritten(tmp_path: Path, content: str, resume: bool, message: str) -> None:
    out = tmp_path / "sweep.jsonl"
    out.write_text(content)
    with pytest.raises(InputError, match=message):
        sweep(SHAPES, ["ort-cpu"], out=out, resume=resume, **QUICK)
    assert out.read_text() == content


@pytest.mark.slow
def test_an_lstm_of_few_steps_is_compiled_too(tmp_path: Path) -> None:
    report = sweep([LayerShape("lstm", 8, 1, 3)], ["ort-cpu"], out=tmp_path / "sweep.jsonl", **QUICK)
    assert "torch-compiled" in [row.definition.name for row in report.measurements if row.median_ns]


@pytest.mark.slow
def test_every_row_can_be_set_beside_the_limit_of_the_machine(tmp_path: Path) -> None:
    shape = LayerShape("gru", 64, 2, 3)
    report = sweep([shape], ["ort-cpu"], out=tmp_path / "sweep.jsonl", roofline=True, **QUICK)
    roofline = report.analysis.roofline
    assert roofline is not None
    assert [row.bundle for row in roofline.rows] == [row.bundle for row in report.measurements if row.samples_ns]
    for row in roofline.rows:
        assert row.bound_ns > 0
        assert 0 < row.int8_bound_ns <= row.bound_ns
