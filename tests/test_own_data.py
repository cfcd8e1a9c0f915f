"""Training on a file of the user's own, and on several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnnexport.errors import InputError
from rnnexport.tasks.files import DataFile, file_task
from rnnexport.training import train


def rows(series: int = 20) -> list[list[str]]:
    """Series of 2 to 5 steps, whose class is the sign of their one feature."""
    return [
        [str(number), str((-1) ** number * (1 + step / 10)), "up" if number % 2 == 0 else "down"]
        for number in range(series)
        for step in range(2 + number % 4)
    ]


def write(path: Path, table: list[list[str]], header: str = "series,value,label") -> DataFile:
    path.write_text("\n".join([header, *(",".join(row) for row in table)]) + "\n")
    return DataFile(path=str(path))


def test_series_of_a_table_are_trained_on(tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows())
    result = train(cell="gru", data=data, epochs=20, out=tmp_path / "checkpoint")
    assert result.settings.task == "own"
    assert result.test == 1.0


def test_columns_are_mapped(tmp_path: Path) -> None:
    table = [[*row, "9"] for row in rows()]
    path = write(tmp_path / "own.csv", table, "id,value,kind,noise").path
    task = file_task(DataFile(path=path, series_column="id", label_column="kind", features=("value",)))
    dataset = task.load(0)
    assert dataset.class_names == ("down", "up")
    assert dataset.input_size == 1
    assert {len(values) for values in dataset.train.series} == {2, 3, 4, 5}


def test_an_npz_gives_what_the_table_gives(tmp_path: Path) -> None:
    table = file_task(write(tmp_path / "own.csv", rows())).load(3)
    values = np.array([[float(row[1])] for row in rows()])
    lengths = [2 + number % 4 for number in range(20)]
    labels = ["up" if number % 2 == 0 else "down" for number in range(20)]
    np.savez(tmp_path / "own.npz", values=values, lengths=lengths, labels=labels)
    archive = file_task(DataFile(path=str(tmp_path / "own.npz"))).load(3)
    for a, b in zip(table.train.series, archive.train.series, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(table.train.labels, archive.train.labels)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["0", "x", "up"], r"own\.csv, row 1: 'x' in 'value' is no number"),
        (["0", "nan", "up"], r"own\.csv, row 1: 'nan' in 'value' is no number"),
        (["0", "1", ""], r"own\.csv, row 1: series '0' has no label"),
        (["1", "1", "up"], r"own\.csv, row 3: series '1' has a second label, 'down'"),
    ],
)
def test_a_malformed_row_is_named(row: list[str], message: str, tmp_path: Path) -> None:
    table = rows()
    table[0] = row
    with pytest.raises(InputError, match=message):
        file_task(write(tmp_path / "own.csv", table))


def test_files_that_hold_no_data_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own\.csv has no column 'label', only: series, value, kind"):
        file_task(write(tmp_path / "own.csv", rows(), "series,value,kind"))
    with pytest.raises(InputError, match="all series are of class 'up'"):
        file_task(write(tmp_path / "one.csv", [[*row[:2], "up"] for row in rows()]))
    with pytest.raises(InputError, match="class 'down' has 1 series; each class needs at least 5"):
        file_task(write(tmp_path / "rare.csv", [row for row in rows() if row[2] == "up" or row[0] == "1"]))
    with pytest.raises(InputError, match=r"gone\.csv does not exist"):
        file_task(DataFile(path=str(tmp_path / "gone.csv")))
    with pytest.raises(InputError, match=r"is none of \.csv, \.parquet, \.npz, \.ts"):
        file_task(DataFile(path="data.xlsx"))
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"bad\.npz cannot be read"):
        file_task(DataFile(path=str(tmp_path / "bad.npz")))


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows(30))
    options = {"cell": "gru", "data": data, "epochs": 2, "hidden_size": 4, "batch_size": 6}
    one, two = (train(**options, devices=n, out=tmp_path / str(n)) for n in (1, 2))  # type: ignore[arg-type]
    for a, b in zip(one.history, two.history, strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    assert two.test == one.test


def test_losses_are_logged_where_that_is_asked_for(tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows())
    train(cell="gru", data=data, epochs=2, hidden_size=2, log="csv", out=tmp_path / "checkpoint")
    (log,) = (tmp_path / "checkpoint" / "logs").glob("*/metrics.csv")
    assert {"train_loss", "validation_loss"} <= set(log.read_text().splitlines()[0].split(","))


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_schedule_changes_the_training(schedule: str, tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows())
    a, b = (
        train(cell="gru", data=data, epochs=3, hidden_size=2, schedule=s, out=tmp_path / s)  # type: ignore[arg-type]
        for s in ("constant", schedule)
    )
    assert (a.history != b.history) == (schedule == "cosine"), "three epochs leave a plateau no time"
