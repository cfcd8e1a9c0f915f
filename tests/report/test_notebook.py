"""Results in a notebook: tables to look at, and dictionaries and data frames to go on with."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import rnnexport
from rnnexport.bundle.bundle import Bundle
from rnnexport.errors import InputError
from rnnexport.parity.drift import drift
from rnnexport.results.result import Result
from tests.report import kept
from tests.report.pages import Page

RESULTS: dict[str, tuple[Result, int, str]] = {
    "parity": (kept.parity("gru", {"a": 1.0, "b": 9.0}, ["y", "h_n"]), 4, "largest_error"),
    "bench": (kept.bench("gru", {"a": 100.0, "b": 200.0}, [1, 4]), 4, "median_ns"),
    "drift": (kept.drift("gru", ["a"]), 4, "up_to_step"),
    "tune": (kept.tune("gru"), 4, "times_plain"),
    "lint": (kept.lint("model.onnx"), 1, "consequences"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_shown_and_goes_on_as_a_dictionary_and_a_data_frame(name: str) -> None:
    result, rows, column = RESULTS[name]
    page = Page(result._repr_html_())
    assert page.problems == []
    assert len(page.all("table")) >= 1
    frame: Any = result.to_pandas()
    assert len(frame) == rows
    assert column in frame.columns
    assert json.loads(json.dumps(result.to_dict())) == result.model_dump(mode="json")


def test_figures_of_a_data_frame_are_those_of_the_result() -> None:
    report = kept.bench("gru", {"a": 100.0})
    assert report.to_pandas().loc[0, "median_ns"] == report.measurements[0].median_ns
    assert kept.parity("gru", {"a": 9.0}).to_pandas()["passed"].tolist() == [False]


def test_text_from_outside_is_escaped_in_a_notebook() -> None:
    shown = kept.parity("<b>gru</b>", {"<script>x</script>": 1.0})._repr_html_()
    assert "<script" not in shown
    assert "<b>" not in shown


def test_a_bundle_and_a_predictor_show_what_they_are(bundle: Bundle) -> None:
    predictor = rnnexport.load(bundle.path)
    for shown in (bundle._repr_html_(), predictor._repr_html_()):
        page = Page(shown)
        assert page.problems == []
        assert "speaker 1" in page.text
    predicted = predictor.predict({"one": np.zeros((5, 12), np.float32)})
    assert "one" in Page(predicted._repr_html_()).text
    assert predicted.to_pandas()["name"].tolist() == ["one"]


def test_every_result_of_a_public_function_can_be_shown() -> None:
    from rnnexport.report.notebook import _TABLES

    def below(kind: type) -> set[type]:
        return {kind, *(each for child in kind.__subclasses__() for each in below(child))}

    assert below(Result) - {Result} <= set(_TABLES)


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install 'rnnexport\[parquet\]'"):
        kept.tune("gru").to_pandas()


class _Shell:
    kernel = object()


class _Line:
    def __init__(self, said: list[str]) -> None:
        self._said = said

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        self._said.append(data["text/plain"])


def test_a_notebook_is_told_what_is_done_without_asking(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython)["get_ipython"] = _Shell
    vars(display)["display"] = lambda data, **_: _Line(said)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    drift(bundle.path, ["ort-cpu"], steps=10)
    assert said[:2] == ["drift: 10 steps in float64", "drift: ort-cpu"]
    assert said[-1].endswith(" s")
    drift(bundle.path, ["ort-cpu"], steps=10, on_progress=lambda _: None)  # who listens hears it alone
    assert len(said) == 3
