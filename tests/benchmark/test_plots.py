"""Figures: what is in them, and what is refused before anything is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from rnnexport.benchmark.interleaving import Repetition
from rnnexport.benchmark.results import BenchReport, Measurement
from rnnexport.errors import InputError
from rnnexport.report.figure_style import check_plotting
from rnnexport.report.plots import plot_latency


def report(runtimes: list[str], batch_sizes: list[int], time_steps: list[int]) -> BenchReport:
    generator = np.random.default_rng(0)

    def row(runtime: str, batch_size: int, steps: int) -> Measurement:
        windows = [[int(n) for n in generator.lognormal(np.log(1e5 * batch_size), 0.1, 30)] for _ in range(5)]
        return Measurement(
            bundle="exported/gru",
            definition={"name": runtime, "engine": "onnxruntime", "precision": "float32"},
            batch_size=batch_size,
            time_steps=steps,
            repetitions=[Repetition(windows_ns=windows, pulses_ns=[1.0] * 5)],
        )

    return BenchReport(
        seconds=1,
        measurements=[row(runtime, b, t) for runtime in runtimes for b in batch_sizes for t in time_steps],
        not_usable=[],
        conditions={"machine": "a", "cores": 2, "load_average": 0.0},
        versions={},
    )


@pytest.mark.parametrize(
    ("batch_sizes", "time_steps", "shown", "not_shown"),
    [
        ([1], [25], ["latency of a call"], [">batch size<", ">time steps<"]),
        ([1, 16], [25], ["latency of a call", "series per second", ">batch size<"], [">time steps<"]),
        ([1], [25, 100], [">time steps<"], ["series per second", ">batch size<"]),
        ([1, 16], [25, 100], [">time steps<", ">batch size<", "series per second"], []),
    ],
)
def test_a_figure_shows_what_was_varied(
    tmp_path: Path, batch_sizes: list[int], time_steps: list[int], shown: list[str], not_shown: list[str]
) -> None:
    runtimes = [f"runtime-{number}" for number in range(10)]  # more than there are colours
    path = tmp_path / "out.svg"
    plot_latency(report(runtimes, batch_sizes, time_steps), path)
    text = path.read_text()
    assert all(f"gru in {runtime}" in text for runtime in runtimes)
    assert all(words in text for words in shown)
    assert not any(words in text for words in not_shown)


def test_the_same_report_gives_the_same_file(tmp_path: Path) -> None:
    drawn = report(["ort"], [1, 4], [25])
    for name in ("a.svg", "b.svg"):
        plot_latency(drawn, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_report_without_figures_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        plot_latency(report([], [1], [25]), tmp_path / "out.svg")


@pytest.mark.parametrize(("name", "message"), [("out.gif", "ends in .svg"), ("nowhere/out.svg", "there is no folder")])
def test_a_wrong_file_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_plotting(tmp_path / name)


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'rnnexport\[plot\]'"):
        check_plotting(tmp_path / "out.svg")
