"""Series from files of every kind, and predictions into files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnnexport.errors import InputError
from rnnexport.predicting.predictor import Prediction, Predictions
from rnnexport.predicting.series_files import read_series
from rnnexport.report.prediction_files import check_target, write_predictions

A, B = np.array([[1.0, 2.0], [3.0, 4.5]]), np.array([[5.0, 6.0]])
TABLE = pd.DataFrame(
    {
        "series": ["a", "b", "a"],
        "x": [A[0, 0], B[0, 0], A[1, 0]],
        "y": [A[0, 1], B[0, 1], A[1, 1]],
        "label": ["left", "right", "left"],
    }
)


def write(path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, a=A, b=B)
    elif path.suffix == ".csv":
        TABLE.to_csv(path, index=False)
    else:
        TABLE.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_each_kind_of_file_gives_the_same_series(suffix: str, tmp_path: Path) -> None:
    series = read_series(write(tmp_path / f"series{suffix}"))
    assert list(series) == ["a", "b"]
    np.testing.assert_array_equal(series["a"], A)
    np.testing.assert_array_equal(series["b"], B)


def test_an_npy_is_one_series_or_several(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", A)
    np.save(tmp_path / "two.npy", np.stack([A, A + 1]))
    np.testing.assert_array_equal(read_series(tmp_path / "one.npy")["one"], A)
    two = read_series(tmp_path / "two.npy")
    assert list(two) == ["0", "1"]
    np.testing.assert_array_equal(two["1"], A + 1)
    np.save(tmp_path / "tokens.npy", np.array([[3, 1], [2, 0]]))
    tokens = read_series(tmp_path / "tokens.npy", tokens=True)
    assert [values.tolist() for values in tokens.values()] == [[3, 1], [2, 0]]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_without_a_column_of_series_is_one(suffix: str, tmp_path: Path) -> None:
    path, table = tmp_path / f"walk{suffix}", TABLE[["x", "y"]]
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    assert {name: values.shape for name, values in read_series(path).items()} == {"walk": (3, 2)}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_of_tokens_is_read_for_a_model_of_tokens(suffix: str, tmp_path: Path) -> None:
    path, table = tmp_path / f"t{suffix}", pd.DataFrame({"token": [3, 1, 2]})
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    assert read_series(path, tokens=True)["t"].tolist() == [3, 1, 2]
    with pytest.raises(InputError, match="series 'a' is not one column of tokens, which are whole numbers"):
        read_series(write(path), tokens=True)


def test_a_broken_file_is_named_with_the_place(tmp_path: Path) -> None:
    cases: list[tuple[str, bytes, str]] = [
        ("a.csv", b"x,y\n1,2\n1,two\n", r"a.csv, line 3: not a number in each of the columns \['x', 'y'\]"),
        ("b.csv", b"x,y\n1\n", "b.csv, line 2: not a number"),
        ("c.csv", b"x,y\n", "c.csv has no rows below its header"),
        ("d.csv", b"\xff\xfe", "d.csv cannot be read: 'utf-8' codec"),
        ("e.npz", b"PK\x03\x04 cut", "e.npz cannot be read: "),
        ("f.npy", b"\x93NUMPY", "f.npy cannot be read: "),
        ("g.parquet", b"PAR1", "g.parquet cannot be read: "),
        ("i.csv", b"x,series\n1\n", "i.csv, line 2: it is short of the field 'series'"),
        ("j.csv", b"x\n" + b"1" * 200_000, r"j.csv cannot be read: field larger than field limit"),
        ("k.npz", b"\x93NUMPY", "k.npz cannot be read: it is a .npy"),
        ("l.npy", b"PK\x03\x04", "l.npy cannot be read: it is a .npz"),
        ("h.wav", b"", "h.wav is none of .npy, .npz, .csv, .parquet"),
    ]
    for name, content, message in cases:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as refused:
            read_series(tmp_path / name)
        assert "\n" not in str(refused.value)
    np.save(tmp_path / "flat.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"flat.npy has shape \[3\]; it needs \[time, features\] or \[series, time"):
        read_series(tmp_path / "flat.npy")
    np.savez(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"none\.npz holds no series"):
        read_series(tmp_path / "none.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    with pytest.raises(InputError, match=r"objects\.npz cannot be read: it holds Python objects, which could run code"):
        read_series(tmp_path / "objects.npz")
    TABLE.assign(x=["1", "two", "3"]).to_parquet(tmp_path / "text.parquet")
    with pytest.raises(InputError, match=r"text\.parquet, row 2: 'two' in 'x' is no number"):
        read_series(tmp_path / "text.parquet")


def test_parquet_without_its_packages_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"without pandas and pyarrow: pip install 'rnnexport\[parquet\]'"):
        read_series(path)
    with pytest.raises(InputError, match=r"without pandas and pyarrow: pip install 'rnnexport\[parquet\]'"):
        check_target(path)


CLASSES = Predictions(
    class_names=("left", "right"),
    series=[Prediction(name=name, class_name="left", probabilities=[0.75, 0.25]) for name in "ab"],
)
STEPS = Predictions(class_names=("left", "right"), series=[Prediction(name="a", steps=["left", "right"])])
VALUES = Predictions(class_names=(), series=[Prediction(name="a", values=[1.5, 2.0])])
ROWS = Predictions(class_names=(), series=[Prediction(name="a", values=[[1.5], [2.0]])])


@pytest.mark.parametrize(
    ("predictions", "first", "count"),
    [
        (CLASSES, {"series": "a", "class": "left", "p(left)": "0.75", "p(right)": "0.25"}, 2),
        (STEPS, {"series": "a", "step": "0", "class": "left"}, 2),
        (VALUES, {"series": "a", "value 0": "1.5", "value 1": "2.0"}, 1),
        (ROWS, {"series": "a", "step": "0", "value 0": "1.5"}, 2),
    ],
)
def test_predictions_are_written_with_a_row_for_each_answer(
    predictions: Predictions, first: dict[str, str], count: int, tmp_path: Path
) -> None:
    for suffix in (".csv", ".parquet", ".json"):
        write_predictions(predictions, tmp_path / f"out{suffix}")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0], len(rows)) == (first, count)
    frame = pd.read_parquet(tmp_path / "out.parquet").astype(str)
    assert frame.to_dict("records") == rows
    assert Predictions.model_validate(json.loads((tmp_path / "out.json").read_text())) == predictions
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.json", "out.parquet"]


def test_a_target_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, message in [
        ("out.txt", "out.txt is none of .csv, .parquet, .json"),
        ("nowhere/out.csv", "out.csv`: there is no folder"),
        ("folder.csv", "folder.csv` is a folder; give the file a name"),
    ]:
        with pytest.raises(InputError, match=message):
            check_target(tmp_path / name)
