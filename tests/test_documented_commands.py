"""Every command block of the documentation runs as pasted, or names what it needs.

Behind a block stands `<!-- run -->`, perhaps with the status that it ends with, or `<!-- needs: … -->`. The blocks of a
page run in order, in a folder that has the files which a reader of that page has.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import rnnexport
from rnnexport.bundle.bundle import reference_bundles
from tests.graphs import Graph

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"```(console|python)\n(.*?)^ *```\n(?: *<!-- (run|needs)(?:: (.*?))? -->)?", re.DOTALL | re.MULTILINE
)
RUN = [page for page in PAGES if any(kind == "run" for *_, kind, _ in BLOCK.findall(page.read_text(encoding="utf-8")))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_block_says_whether_it_runs(page: Path) -> None:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert not [code for language, code, kind, _ in blocks if language == "console" and not kind]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who reads the documentation."""
    folder = tmp_path_factory.mktemp("reader")
    lstm, gru = reference_bundles()
    for name, bundle in (("lstm", lstm), ("gru", gru), ("old", gru), ("new", gru)):
        shutil.copytree(bundle, folder / "exported" / name)
    _write_tagger(folder)
    rng = np.random.default_rng(0)
    np.savez(folder / "recordings.npz", first=rng.normal(size=(20, 12)), second=rng.normal(size=(9, 12)))
    onnx.save(_recognizer(), folder / "recognizer.onnx")
    recording = rng.normal(size=(5, 2, 12)).astype(np.float32)
    np.savez(folder / "recording.npz", x=recording, lengths=np.array([5, 3], np.int32))
    onnx.save(_unrolled(), folder / "unrolled.onnx")
    with tarfile.open(ROOT / "tests/keras_files/models.tar.xz") as models:
        article = models.extractfile("keras3/article.keras")
        assert article is not None
        content = article.read()
    for name in ("model", "lstm", "gru"):
        (folder / f"{name}.keras").write_bytes(content)
    return folder


def _write_tagger(folder: Path) -> None:
    """A bundle with a step graph, its graphs as files, and a call for them."""
    import torch

    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = torch.nn.GRU(12, 32, batch_first=True), torch.nn.Linear(32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.rnn(x)[0])

    tagger = folder / "exported" / "tagger"
    rnnexport.export(Tagger(), tagger, inputs=["x:float32[batch,time,12]"], streaming=True)
    for name in ("model.onnx", "step.onnx"):
        shutil.copy(tagger / name, folder / name)
    np.savez(folder / "sample.npz", x=np.ones((2, 5, 12), np.float32))


def _recognizer() -> onnx.ModelProto:
    """An LSTM with `sequence_lens`, which lint repairs."""
    g = Graph()
    g.op("LSTM", "x", *g.weights("LSTM", 12, 16), "", "lengths", outputs=["Y"], hidden_size=16)
    g.with_axes("Squeeze", "Y", 1, outputs=["y"])
    shapes: tuple[Any, Any] = {"x": ["time", "batch", 12], "lengths": ["batch"]}, {"y": ["time", "batch", 16]}
    return g.model(*shapes, {"lengths": np.int32}, ir_version=10)


def _unrolled() -> onnx.ModelProto:
    """A plain recurrence written once for each of four steps of a GRU cell."""
    import torch

    class Unrolled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = torch.nn.GRUCell(12, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = x.new_zeros(x.shape[0], 16)
            for t in range(4):
                h = self.cell(x[:, t], h)
            return h

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch, of its own calls
        program = torch.onnx.export(Unrolled().eval(), (torch.zeros(2, 4, 12),), dynamo=True, verbose=False)
    assert program is not None
    return program.model_proto


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_run_as_pasted(page: Path, reader: Path, tmp_path: Path) -> None:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    folder = tmp_path / "reader"
    shutil.copytree(reader, folder)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for language, code, kind, note in blocks:
        if language == "python" and (named := re.match(r"# (\w+\.py)\n", code)):
            (folder / named[1]).write_text(code)
        if kind == "run":
            status = int(note.removeprefix("status ")) if note else 0
            command = ["bash", "-ec", code] if language == "console" else [sys.executable, "-c", code]
            done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)
            assert done.returncode == status, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
