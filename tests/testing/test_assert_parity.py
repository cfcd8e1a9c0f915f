"""`assert_parity` in tests of users: what it takes, what it says, and what it costs a project that does not use it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.errors import InputError
from rnnexport.testing import assert_parity
from rnnexport.testing.judging import input_specs
from tests.checking.test_check import change_a_weight
from tests.test_cli import HEAVY

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = bool(entry_points(group="pytest11", name="rnnexport"))
PLUGIN = [] if INSTALLED else ["-p", "rnnexport.testing.plugin"]


class Tagger(nn.Module):
    """A GRU over tokens, whose inputs a test gives as tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(9, 4), nn.GRU(4, 5, batch_first=True)

    def forward(self, tokens: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.gru(self.embedding(tokens))[0] * scale[:, None, None]


@pytest.mark.slow
def test_a_module_is_right_at_the_inputs_given_and_at_other_sizes() -> None:
    torch.manual_seed(0)
    assert_parity(Tagger().eval(), torch.randint(9, (2, 6)), np.ones(2, np.float32), runtimes=["ort-cpu"])


def test_inputs_are_tensors_arrays_or_specifications() -> None:
    tokens, scale = input_specs(Tagger(), [torch.zeros(2, 6, dtype=torch.int64), "scale:float32[batch]"])
    assert (tokens.name, tokens.dtype, tokens.shape) == ("tokens", "int64", ("batch", "time"))
    assert (scale.name, scale.shape) == ("scale", ("batch",))
    with pytest.raises(InputError, match="forward takes 2 inputs, not 3"):
        input_specs(Tagger(), [1, 2, 3])
    with pytest.raises(InputError, match="a module needs its inputs"):
        assert_parity(Tagger())
    with pytest.raises(InputError, match="only a module takes inputs"):
        assert_parity(reference_bundles()[1], np.zeros(3))


@pytest.mark.slow
def test_the_plug_in_names_the_runtime_that_is_wrong_and_leaves_the_bundle_as_it_is(
    bundle: Bundle, tmp_path: Path
) -> None:
    change_a_weight(bundle)
    before = sorted(path.name for path in bundle.path.iterdir())
    (tmp_path / "test_models.py").write_text(
        f"def test_bad(assert_parity): assert_parity({str(bundle.path)!r}, grid='quick')\n"
        "def test_missing(assert_parity): assert_parity('nowhere')\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nrnnexport_runtimes = ort-cpu\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *PLUGIN]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "the runtimes do not compute the model:" in ended.stdout
    assert "ort-cpu: " in ended.stdout
    assert "the file is wrong, not the runtime" in ended.stdout
    assert "openvino-cpu: " not in ended.stdout
    assert "InputError: nowhere does not exist" in ended.stdout
    assert "judging.py" not in ended.stdout  # the user's own line is shown, and nothing of ours
    assert sorted(path.name for path in bundle.path.iterdir()) == before
    assert load_bundle(bundle.path).manifest_sha256


def test_the_plug_in_is_registered_and_loads_nothing_heavy() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"rnnexport": "rnnexport.testing.plugin"}
    code = f"import sys, rnnexport.testing.plugin; sys.exit(str(sorted(set(sys.modules) & set({HEAVY}))))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stderr.strip() == "[]"
