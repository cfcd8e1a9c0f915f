"""Every task: trained, exported, verified and used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnexport
from rnnexport.data.batches import LengthBatches
from rnnexport.data.checks import check_dataset
from rnnexport.data.metrics import best_baseline
from rnnexport.data.task import Dataset, Split
from rnnexport.data.tasks import get_task
from rnnexport.data.tasks.names import encode
from rnnexport.data.tasks.sunspots import windows
from rnnexport.errors import InputError
from rnnexport.predicting.series_files import read_series
from rnnexport.training.training import train

SHORT = {"sunspots": 20, "ecg": 4, "names": 1, "copy-3": 1, "adding-6": 1}


@pytest.mark.parametrize(
    "name", ["sunspots", "names", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ecg", "copy-3", "adding-6"))]
)
def test_a_bundle_of_each_kind_of_task_is_right(name: str, tmp_path: Path) -> None:
    result = train(name, "gru", epochs=SHORT[name], hidden_size=8, out=tmp_path / "checkpoint")
    rnnexport.export(tmp_path / "checkpoint", out=tmp_path / "bundle")
    report = rnnexport.verify(tmp_path / "bundle", ["ort-cpu"], grid="quick")
    assert report.passed
    assert report.metric == get_task(name).metric
    evaluated = min(128, len(get_task(name).load(0).test.series))
    if evaluated < 128:  # then the bundle holds the whole test part
        assert report.reference_metric == pytest.approx(result.test, rel=1e-4)
    predictor = rnnexport.load(tmp_path / "bundle")
    series = get_task(name).load(0).test.series[:3]
    prediction = predictor.predict({str(i): values for i, values in enumerate(series)}).series[1]
    if get_task(name).predicts == "values":
        assert len(prediction.values) == 1
    elif get_task(name).predicts == "class per step":
        assert len(prediction.steps) == len(series[1])
    else:
        assert prediction.class_name in predictor.class_names


@pytest.mark.slow
def test_forecasts_are_in_the_unit_of_the_data_and_beat_the_naive_ones(tmp_path: Path) -> None:
    result = train("sunspots", "gru", epochs=60, out=tmp_path)
    assert result.test < result.baseline
    assert 10 < result.test < 20  # sunspots a year; Weigend et al. report 11.5


def test_series_are_batched_with_little_padding() -> None:
    for name in ("vowels", "names", "plaid"):
        task = get_task(name)
        lengths = [len(values) for values in task.load(0).train.series]
        batches = LengthBatches(lengths, task.defaults.batch_size, 0)
        assert batches.padding_share() < 0.1
        assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))


def test_a_text_is_predicted_from_a_file_and_unknown_characters_are_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Ba\nab\n")
    series = read_series(tmp_path / "names.txt", ("a", "b"))
    assert [values.tolist() for values in series.values()] == [[1, 0], [0, 1]]
    with pytest.raises(InputError, match="text 'abc' has the character 'c', which the model was not trained on"):
        encode("abc", ("a", "b"))


def test_a_window_that_is_longer_than_the_series_is_refused() -> None:
    with pytest.raises(InputError, match="a window of 24 steps does not fit before step 10; take a shorter window"):
        windows(np.zeros(20, np.float32), 24, range(10, 20))


def broken(series: list[np.ndarray], labels: list[object]) -> Dataset:
    part = Split(series, labels)
    return Dataset(part, part, part, ("a", "b"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"series": {1: np.array([[0.0], [np.nan]])}}, "train part: series 1 is not finite at time step 1"),
        ({"series": {1: np.zeros((0, 1))}}, "train part: series 1 has no time steps"),
        ({"labels": {0: np.nan}}, "train part: series 0 has no label"),
        ({"labels": {0: 2}}, "series 0 has label 2; there are 2 classes"),
        ({"labels": {0: 1, 1: 1}}, "all training labels are of one class"),
        ({"series": {1: np.zeros((2, 3))}}, r"series 1 has \[3\] features, not \[1\]"),
    ],
)
def test_data_that_no_model_can_learn_from_are_refused(change: dict[str, dict[int, Any]], message: str) -> None:
    series, labels = {0: np.zeros((2, 1)), 1: np.ones((2, 1))}, {0: 0, 1: 1}
    dataset = broken(
        list({**series, **change.get("series", {})}.values()), list({**labels, **change.get("labels", {})}.values())
    )
    with pytest.raises(InputError, match=message):
        check_dataset(get_task("vowels"), dataset)


def test_generated_tasks_are_what_their_papers_say() -> None:
    adding = get_task("adding-20").load(0).test
    for values, target in zip(adding.series, adding.labels, strict=True):
        assert values[:10, 1].sum() == values[10:, 1].sum() == 1
        assert target[0] == pytest.approx((values[:, 0] * values[:, 1]).sum(), rel=1e-6)
    copy = get_task("copy-5").load(0).test
    for tokens, labels in zip(copy.series, copy.labels, strict=True):
        assert len(tokens) == 15
        np.testing.assert_array_equal(tokens[:5], labels[-5:])
        assert (labels[:-5] == -1).all()
    for name, message in (("adding-1", "need at least 2 time steps"), ("copy-0", "at least 1 time step")):
        with pytest.raises(InputError, match=message):
            get_task(name)


def test_every_task_says_where_its_data_come_from() -> None:
    for name in ("adding", "article", "copy", "ecg", "names", "plaid", "sunspots", "vowels"):
        task = get_task(name)
        assert task.citation
        assert task.licence
        assert best_baseline(task.metric, task.load(0)) > 0
