"""Training on a file of the user's own, and on several processes."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnexport.data.files import file_task
from rnnexport.data.options import DataFile
from rnnexport.data.task import Dataset
from rnnexport.errors import InputError, TrainingError
from rnnexport.training.training import train


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
    assert_same(table, archive)


def assert_same(one: Dataset, other: Dataset) -> None:
    for a, b in zip(one.train.series, other.train.series, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.train.labels, other.train.labels)


def test_a_parquet_gives_what_the_csv_gives(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    file = write(tmp_path / "own.csv", rows())
    pd.read_csv(file.path).to_parquet(tmp_path / "own.parquet")
    assert_same(file_task(file).load(3), file_task(DataFile(path=str(tmp_path / "own.parquet"))).load(3))
    table = pd.read_csv(file.path)
    table.loc[6, "value"] = None
    table.to_parquet(tmp_path / "own.parquet")
    with pytest.raises(InputError, match=r"own\.parquet, row 7: .* in 'value' is no number"):
        file_task(DataFile(path=str(tmp_path / "own.parquet")))
    table.loc[6, ["value", "label"]] = [1.0, None]
    table.to_parquet(tmp_path / "own.parquet")
    with pytest.raises(InputError, match=r"own\.parquet, row 7: series '2' has no label"):
        file_task(DataFile(path=str(tmp_path / "own.parquet")))
    (tmp_path / "own.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"own\.parquet cannot be read: "):
        file_task(DataFile(path=str(tmp_path / "own.parquet")))


def write_ts(path: Path, series: list[str]) -> DataFile:
    head = "@problemName own\n@timeStamps false\n@missing false\n@univariate false\n@dimensions 2\n@equalLength false\n"
    path.write_text(head + "@classLabel true up down\n@data\n" + "\n".join(series) + "\n")
    return DataFile(path=str(path))


def test_series_of_a_ts_file_are_read(tmp_path: Path) -> None:
    lines = [f"{n},{n + 1}:7,8:{'up' if n % 2 else 'down'}" for n in range(19)] + ["1,2,3:4,5,6:down"]
    dataset = file_task(write_ts(tmp_path / "own.ts", lines)).load(0)
    assert dataset.input_size == 2
    assert dataset.class_names == ("down", "up")
    every = [*dataset.train.series, *dataset.validation.series, *dataset.test.series]
    assert any(np.array_equal(values, [[1, 4], [2, 5], [3, 6]]) for values in every)
    with pytest.raises(InputError, match=r"own\.ts, series 19: its features differ in length"):
        file_task(write_ts(tmp_path / "own.ts", [*lines[:19], "1,2,3:4,5:down"]))
    with pytest.raises(InputError, match=r"own\.ts, series 19: a value is missing or no number"):
        file_task(write_ts(tmp_path / "own.ts", [*lines[:19], "1,?,3:4,5,6:down"]))
    (tmp_path / "own.ts").write_text("no such thing\n")
    with pytest.raises(InputError, match=r"own\.ts cannot be read: "):
        file_task(DataFile(path=str(tmp_path / "own.ts")))


def test_a_malformed_row_of_an_npz_is_named(tmp_path: Path) -> None:
    values, lengths, labels = np.ones((40, 2), np.float32), np.full(20, 2), np.arange(20) % 2
    values[33, 1] = np.nan
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "own.npz", values=values, lengths=lengths, labels=labels)
        with pytest.raises(InputError, match=r"own\.npz, row 33 of values, feature 1: nan is no number"):
            file_task(DataFile(path=str(tmp_path / "own.npz")))
    np.savez(tmp_path / "own.npz", values=values, lengths=lengths[1:], labels=labels)
    with pytest.raises(InputError, match=r"has 19 lengths and labels of shape \[20\]; each series needs one"):
        file_task(DataFile(path=str(tmp_path / "own.npz")))


MEMORY = """
import resource, sys
from pathlib import Path
import torch, rnnexport.training.loop, sktime.datasets
from rnnexport.data.options import DataFile
from rnnexport.training.training import train
torch.set_num_threads(1)
train(cell="gru", data=DataFile(path=sys.argv[1]), epochs=1, hidden_size=4, out=sys.argv[3])
held = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + 60_000_000,) * 2)
train(cell="gru", data=DataFile(path=sys.argv[2]), epochs=1, hidden_size=4, out=sys.argv[3])
"""


@pytest.mark.slow
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_memory_does_not_grow_with_an_npz_that_is_not_compressed(save: Callable[..., None], tmp_path: Path) -> None:
    """With 60 MB left to allocate, 200 MB are trained on; compressed, they have to be read, which shows the limit."""
    some = np.random.default_rng(0).random(25_000, np.float32)
    for name, count in (("small", 20), ("large", 20_000)):
        values = np.resize(some, (count * 10, 250))
        save(tmp_path / f"{name}.npz", values=values, lengths=np.full(count, 10), labels=np.arange(count) % 2)
    files = [str(tmp_path / name) for name in ("small.npz", "large.npz", "out")]
    ended = subprocess.run([sys.executable, "-c", MEMORY, *files], capture_output=True, text=True)
    assert (ended.returncode == 0) == (save is np.savez), ended.stderr
    if ended.returncode:
        assert "MemoryError" in ended.stderr


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


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows(30))
    options = {"cell": "gru", "data": data, "epochs": 2, "hidden_size": 4, "batch_size": 6}
    one, two = (train(**options, devices=n, out=tmp_path / str(n)) for n in (1, 2))  # type: ignore[arg-type]
    for a, b in zip(one.history, two.history, strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    assert two.test == one.test


def torchrun(folder: Path, data: DataFile, hosts: int, *arguments: str) -> list[tuple[int, str, str]]:
    """Status, output and messages of as many torchrun as there are hosts, each of which starts one process."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    launch = ["--nnodes", str(hosts), "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--local-addr", "localhost"]
    launch += ["--rdzv-endpoint", f"localhost:{port}", "-m", "started_by_torchrun", "train", "--cell", "gru"]
    options = ["--data", data.path, "--epochs", "2", "--hidden-size", "4", "--batch-size", "6", *arguments]
    (folder / "started_by_torchrun.py").write_text("from rnnexport.cli import main\nmain()\n")
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", *launch, *options]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(hosts)
    ]
    said = [process.communicate(timeout=600) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


@pytest.mark.slow
def test_two_hosts_learn_what_one_does_and_the_first_says_it(tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows(30))
    one = train(cell="gru", data=data, epochs=2, hidden_size=4, batch_size=6, out=tmp_path / "one")
    options = ("--num-nodes", "2", "--strategy", "ddp", "--out", str(tmp_path / "two"), "--json")
    ended = torchrun(tmp_path, data, 2, *options)
    assert [status for status, _, _ in ended] == [0, 0], ended
    (two,) = json.loads("".join(output for _, output, _ in ended))
    for a, b in zip(one.history, two["history"], strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    assert two["test"] == one.test
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


@pytest.mark.slow
def test_torchrun_with_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows(30))
    ((status, _, said),) = torchrun(tmp_path, data, 1, "--devices", "3", "--out", str(tmp_path / "out"))
    assert status != 0
    assert "torchrun started 1 processes, but 3 devices on 1 nodes need 3" in said


def test_several_hosts_need_torchrun(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"run on each node: torchrun --nnodes 2 --nproc-per-node 4 .* rnnexport train"
    ):
        train("article", "gru", devices=4, num_nodes=2, out=tmp_path / "new")
    with pytest.raises(InputError, match="`num_nodes` is 0; it must be at least 1"):
        train("article", "gru", num_nodes=0, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_divergence_in_several_processes_is_told_as_in_one(tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows(30))
    settings = {"cell": "gru", "data": data, "epochs": 2, "batch_size": 4, "devices": 2, "learning_rate": 3e37}
    with pytest.raises(TrainingError, match=r"^the training diverged in epoch 1: the loss is (nan|inf)"):
        train(**settings, out=tmp_path / "two")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["csv", "tensorboard"])
def test_losses_are_logged_where_that_is_asked_for(kind: str, tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows())
    result = train(cell="gru", data=data, epochs=2, hidden_size=2, log=kind, out=tmp_path / "checkpoint")  # type: ignore[arg-type]
    (folder,) = (tmp_path / "checkpoint" / "logs").iterdir()
    losses = [epoch["train_loss"] for epoch in result.history]
    assert (logged_csv if kind == "csv" else logged_events)(folder) == pytest.approx(losses)


def logged_csv(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file) if row["train_loss"]]


def logged_events(folder: Path) -> list[float]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    assert {"train_loss", "validation_loss", "validation_metric"} <= set(events.Tags()["scalars"])
    return [event.value for event in events.Scalars("train_loss")]


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_schedule_changes_the_training(schedule: str, tmp_path: Path) -> None:
    data = write(tmp_path / "own.csv", rows())
    a, b = (
        train(cell="gru", data=data, epochs=3, hidden_size=2, schedule=s, out=tmp_path / s)  # type: ignore[arg-type]
        for s in ("constant", schedule)
    )
    assert (a.history != b.history) == (schedule == "cosine"), "three epochs leave a plateau no time"
