"""Training: repeatable, resumable, and never half-written."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnexport.bundle.bundle import reference_bundles
from rnnexport.data.tasks import article, get_task
from rnnexport.errors import CheckpointError, InputError, TrainingError, UnknownNameError
from rnnexport.models.classifier import load_description, load_model, save_model
from rnnexport.training.checkpoint_files import WholeCheckpoints, read_checkpoint
from rnnexport.training.checkpoints import find_newest_checkpoint
from rnnexport.training.training import train

KILLS = int(os.environ.get("RNNEXPORT_KILLS", "5"))
SHORT = ["--task", "article", "--cell", "gru", "--epochs", "12", "--hidden-size", "4"]
FILES = {"evaluation.npz", "metrics.json", "model.json", "model.safetensors"}


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    # A process that was started in the background inherits that interrupts are ignored.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from rnnexport.cli import main; main()"
    command = [sys.executable, "-c", code, "train", *SHORT, "--out", str(folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for(process: subprocess.Popen[bytes], path: Path) -> None:
    """Until the process has written `path` anew, or has ended."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    while process.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
        time.sleep(0.001)


def interrupt(folder: Path, how: signal.Signals) -> None:
    """Start a training, and end it after the first checkpoint."""
    process = start(folder)
    while not (folder / "trainer" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(how)
    _, said = process.communicate()
    assert process.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL), said
    assert not (folder / "model.json").exists()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an interrupted training, to be resumed; `copy` beside it is to be read only."""
    folder = tmp_path_factory.mktemp("interrupted") / "gru"
    interrupt(folder, signal.SIGINT)
    shutil.copytree(folder, folder.with_name("copy"))
    return folder


def assert_goes_on(folder: Path, whole: Path) -> None:
    """A resumed training ends as one that was never interrupted."""
    expected = train("article", "gru", epochs=12, hidden_size=4, out=whole)
    resumed = train("article", "gru", epochs=12, hidden_size=4, out=folder, resume=True)
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert resumed.history == expected.history
    assert {path.name for path in folder.iterdir()} == FILES


def test_a_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(interrupted: Path, tmp_path: Path) -> None:
    assert_goes_on(interrupted, tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    interrupt(tmp_path / "cut", signal.SIGKILL)
    assert_goes_on(tmp_path / "cut", tmp_path / "whole")


def test_the_seed_determines_the_weights(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train("article", "lstm", epochs=1, hidden_size=4, seed=seed, out=tmp_path / name)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_keeps_the_epoch_with_the_best_validation_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(article, "SERIES", 60)
    hasty = dataclasses.replace(article.TASK.defaults, learning_rate=0.03)
    monkeypatch.setattr(article, "TASK", dataclasses.replace(article.TASK, defaults=hasty))
    result = train("article", "lstm", epochs=30, hidden_size=32, out=tmp_path)
    losses = [epoch["validation_loss"] for epoch in result.history]
    assert np.argmin(losses) < len(losses) - 1, "random labels should be overfitted"
    model = load_model(tmp_path / "model.json", tmp_path / "model.safetensors")
    validation = get_task("article").load(0).validation
    x = torch.from_numpy(np.stack(validation.series))
    logits = model(x, torch.full((len(x),), x.shape[1]))
    labels = torch.from_numpy(validation.labels).float()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels)
    assert loss.item() == pytest.approx(min(losses), rel=1e-5)


def test_learns_to_tell_the_speakers_of_vowels(tmp_path: Path) -> None:
    result = train("vowels", "gru", epochs=10, out=tmp_path)
    assert result.test > 0.9
    assert result.baseline < 0.2


def test_the_evaluation_set_is_part_of_the_test_split(tmp_path: Path) -> None:
    train("article", "gru", epochs=1, out=tmp_path)
    test = get_task("article").load(0).test
    with np.load(tmp_path / "evaluation.npz", allow_pickle=False) as kept:
        np.testing.assert_array_equal(kept["values"], np.concatenate(test.series))
        np.testing.assert_array_equal(kept["labels"], test.labels)


def test_a_resume_with_other_settings_is_refused(interrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(interrupted.with_name("copy"), tmp_path, dirs_exist_ok=True)
    with pytest.raises(CheckpointError, match="interrupted with hidden_size = 4, not 5; resume with the same settings"):
        train("article", "gru", epochs=12, hidden_size=5, out=tmp_path, resume=True)
    last = tmp_path / "trainer" / "last.ckpt"
    whole = last.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:200] + b"x" + whole[201:]):
        last.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged .* train without `resume`"):
            train("article", "gru", epochs=12, hidden_size=4, out=tmp_path, resume=True)


def test_a_full_disk_leaves_the_checkpoint_of_the_epoch_before(tmp_path: Path) -> None:
    WholeCheckpoints().save_checkpoint({"state_dict": {}, "epoch": 1}, tmp_path / "last.ckpt")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match=r"last\.ckpt|File too large"):
            WholeCheckpoints().save_checkpoint({"state_dict": {"w": torch.zeros(10_000)}}, tmp_path / "last.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_folder_called_trainer_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "main.py").write_text("print()")
    with pytest.raises(InputError, match="is not of a training of rnnexport"):
        train("article", "gru", epochs=1, hidden_size=4, out=tmp_path)
    assert (tmp_path / "trainer" / "main.py").read_text() == "print()"


def test_a_resume_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no interrupted training; train without `resume`"):
        train("article", "gru", out=tmp_path, resume=True)


def test_a_diverging_training_stops_and_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("article", "gru", epochs=1, out=tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    wild = dataclasses.replace(article.TASK.defaults, learning_rate=1e37)
    monkeypatch.setattr(article, "TASK", dataclasses.replace(article.TASK, defaults=wild))
    with pytest.raises(TrainingError, match=r"the training diverged in epoch 1: the loss is (nan|inf)"):
        train("article", "gru", epochs=1, out=tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_size": 0}, "`hidden_size` is 0; it must be at least 1"),
        ({"epochs": -1}, "`epochs` is -1; it must be at least 1"),
        ({"dropout": 1.0}, "`dropout` is 1.0; it must be below 1"),
        ({"seed": -1}, "`seed` is -1; it must be at least 0"),
    ],
)
def test_rejects_settings_before_anything_is_written(tmp_path: Path, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train("article", "gru", out=tmp_path / "new", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_rejects_an_unknown_cell_and_task(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="cell 'ltsm' is unknown; did you mean 'lstm'"):
        train("article", "ltsm", out=tmp_path)
    with pytest.raises(UnknownNameError, match="task 'articel' is unknown; did you mean 'article'"):
        train("articel", "lstm", out=tmp_path)


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write checkpoint .*file/gru: Not a directory"):
        train("article", "gru", out=tmp_path / "file" / "gru")


def run_with_little_disk(folder: Path, size: int) -> subprocess.CompletedProcess[str]:
    """Train a model whose files are larger than `size` in bytes, the most that the process may write into a file."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    arguments = ["train", *SHORT, "--hidden-size", "128", "--out", str(folder)]
    command = [sys.executable, "-c", "from rnnexport.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)


def test_a_full_disk_is_told_and_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    train("article", "gru", epochs=1, hidden_size=4, out=tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    ended = run_with_little_disk(tmp_path, 100_000)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"rnnexport: cannot write checkpoint {tmp_path}"), ended.stderr
    assert "Traceback" not in ended.stderr
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def test_weights_that_do_not_fit_on_the_disk_are_told_as_such(tmp_path: Path) -> None:
    model = load_model(*(reference_bundles()[0] / name for name in ("model.json", "weights.safetensors")))
    description = load_description(reference_bundles()[0] / "model.json")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_model(model, description, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_finds_the_newest_checkpoint_of_a_cell(tmp_path: Path) -> None:
    for name, cell in (("first", "gru"), ("second", "gru"), ("third", "lstm")):
        train("article", cell, epochs=1, hidden_size=2, out=tmp_path / name)
    assert find_newest_checkpoint("gru", tmp_path) == tmp_path / "second"
    with pytest.raises(CheckpointError, match="make one with: rnnexport train --cell gru-reset-before"):
        find_newest_checkpoint("gru-reset-before", tmp_path)


def test_metrics_are_kept_as_json(tmp_path: Path) -> None:
    result = train("article", "lstm", epochs=2, hidden_size=4, out=tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == result.model_dump(mode="json")


@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * KILLS)
def test_a_training_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """Killed at drawn moments: within an epoch, while files are written, at the start and while the result is written.

    `RNNEXPORT_KILLS` says how often.
    """
    epochs = 10 * KILLS
    whole = train("article", "gru", epochs=epochs, hidden_size=4, out=tmp_path / "whole")
    moments = np.random.default_rng(KILLS)
    work = tmp_path / "cut" / "trainer"
    for number in range(KILLS):
        resume = ["--resume"] if (work / "last.ckpt").exists() else []
        process = start(tmp_path / "cut", "--epochs", str(epochs), *resume)
        if number == KILLS - 1:
            wait_for(process, work / "result")
        elif number % 4 == 3:
            time.sleep(moments.uniform(0, 5))
        else:
            wait_for(process, work / "last.ckpt")
            time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"kill {number} came too late"
        if not work.exists():  # the result was written in the millisecond before
            break
        for name in ("last", "best"):
            assert torch.load(work / f"{name}.ckpt", weights_only=True)["state_dict"]
    if work.exists():
        train("article", "gru", epochs=epochs, hidden_size=4, out=tmp_path / "cut", resume=True)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]
    assert json.loads((tmp_path / "cut" / "metrics.json").read_text())["history"] == whole.history


def test_a_training_that_diverges_later_keeps_its_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnexport.training.loop import ModelTraining

    step = ModelTraining.training_step

    def overflowing(self: ModelTraining, batch: tuple[torch.Tensor, ...], number: int) -> torch.Tensor:
        x = batch[0] * float("inf") if self.current_epoch == 2 else batch[0]
        return step(self, (x, *batch[1:]), number)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelTraining, "training_step", overflowing)
    result = train("article", "gru", epochs=5, hidden_size=4, out=tmp_path)
    assert result.stopped is not None
    assert "the training diverged in epoch 3: the loss is nan" in result.stopped
    assert len(result.history) == 2
    assert load_model(tmp_path / "model.json", tmp_path / "model.safetensors").config.hidden_size == 4
