"""The data sets, their parts and the metric."""

from __future__ import annotations

import numpy as np
import pytest

from rnnexport.data.metrics import accuracy, get_metric
from rnnexport.data.padding import pad_series
from rnnexport.data.task import Dataset
from rnnexport.data.tasks import TASKS, get_task
from rnnexport.errors import UnknownNameError


@pytest.mark.parametrize("name", TASKS)
def test_a_task_says_where_it_comes_from(name: str) -> None:
    task = get_task(name)
    assert task.name == name
    assert task.citation
    assert task.licence
    get_metric(task.metric)


def test_vowels_is_the_published_data_set() -> None:
    dataset = get_task("vowels").load(0)
    assert len(dataset.train.series) + len(dataset.validation.series) == 270
    assert len(dataset.test.series) == 370
    steps = [len(series) for part in (dataset.train, dataset.validation, dataset.test) for series in part.series]
    assert (min(steps), max(steps), dataset.input_size) == (7, 29, 12)
    assert np.bincount(dataset.test.labels).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert all(np.isfinite(series).all() for series in dataset.test.series)


def test_the_validation_part_is_a_function_of_the_seed_and_has_every_class() -> None:
    load = get_task("vowels").load
    first, again, other = (validation_sum(load(seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert np.bincount(load(0).validation.labels).tolist() == [6] * 9


def validation_sum(dataset: Dataset) -> float:
    return float(sum(series.sum() for series in dataset.validation.series))


def test_article_has_the_shape_of_the_example_and_says_that_nothing_can_be_learned() -> None:
    task = get_task("article")
    dataset = task.load(0)
    assert np.stack(dataset.train.series).shape == (1000, 10, 64)
    assert set(dataset.train.labels) == {0, 1}
    assert "random labels can only be memorised" in task.description


def test_accuracy_of_several_logits_and_of_one() -> None:
    labels = np.array([0, 1, 1])
    assert accuracy(np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), labels) == pytest.approx(2 / 3)
    assert accuracy(np.array([[-1.0], [0.5], [2.0]]), labels) == 1.0


def test_padding_keeps_every_value() -> None:
    series = [np.ones((3, 2), np.float32), np.full((1, 2), 5, np.float32)]
    padded, lengths = pad_series(series)
    assert padded.tolist() == [[[1, 1]] * 3, [[5, 5], [0, 0], [0, 0]]]
    assert lengths.tolist() == [3, 1]


def test_rejects_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="task 'vowel' is unknown; did you mean 'vowels'"):
        get_task("vowel")
    with pytest.raises(UnknownNameError, match="metric 'f1' is unknown; choose one of: accuracy"):
        get_metric("f1")
