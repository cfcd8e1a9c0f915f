"""Bundles for tests: copies of the two that come with rnnexport, without anyone's evidence, and a model of labels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import nn

from rnnexport.bundle.bundle import load_bundle, reference_bundles
from rnnexport.bundle.store import seal
from tests.evidence import EVIDENCE

LSTM, GRU = reference_bundles()


class Labels(nn.Module):
    """Three values for every step of x [batch, time, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(5, 6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.rnn(x)[0])
        return output


def copy_of(bundle: Path, target: Path) -> Path:
    """A copy that may be written to."""
    return shutil.copytree(bundle, target, ignore=EVIDENCE)


def altered(bundle: Path, target: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy whose graph was changed and sealed again."""
    copy_of(bundle, target)
    model = onnx.load(target / "model.onnx")
    change(model)
    onnx.save(model, target / "model.onnx")
    seal(target, load_bundle(bundle).manifest)
    return target
