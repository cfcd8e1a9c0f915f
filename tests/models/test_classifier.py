"""The models that training builds, and their files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from rnnexport.errors import CheckpointError
from rnnexport.models.classifier import CELLS, ModelConfig, ModelDescription, SequenceClassifier, load_model, save_model

CONFIGS = st.builds(
    ModelConfig,
    cell=st.sampled_from(sorted(CELLS)),
    input_size=st.integers(1, 4),
    hidden_size=st.integers(1, 5),
    num_outputs=st.integers(1, 3),
    num_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
)


@given(config=CONFIGS, lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 99))
@pytest.mark.parametrize("padding", [0.0, float("nan"), float("inf")])
def test_a_series_gives_the_same_alone_and_in_a_padded_batch(
    padding: float, config: ModelConfig, lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    model = SequenceClassifier(config).eval()
    series = [torch.randn(length, config.input_size) for length in lengths]
    x = torch.nn.utils.rnn.pad_sequence(series, batch_first=True, padding_value=padding)
    together = model(x, torch.tensor(lengths))
    alone = torch.cat([model(one[None], torch.tensor([len(one)])) for one in series])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_padding_never_reaches_a_gradient(cell: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(cell=cell, input_size=2, hidden_size=3, num_outputs=2, bidirectional=True)
    model = SequenceClassifier(config)
    gradients = []
    for padding in (0.0, float("nan")):
        x = torch.ones(2, 6, 2)
        x[1, 4:] = padding
        model.zero_grad()
        model(x, torch.tensor([6, 4])).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    torch.testing.assert_close(*gradients, atol=0, rtol=0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    config = ModelConfig(cell="gru", input_size=3, hidden_size=4, num_outputs=2)
    description = ModelDescription(config=config, task="article", metric="accuracy", class_names=("a", "b"))
    save_model(SequenceClassifier(config), description, tmp_path)
    return tmp_path


def load(folder: Path) -> SequenceClassifier:
    return load_model(folder / "model.json", folder / "model.safetensors")


def test_a_model_comes_back_as_it_was_saved(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    torch.testing.assert_close(dict(load(checkpoint).state_dict()), weights, atol=0, rtol=0)


def test_rejects_a_pickle(checkpoint: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match="is a pickle, which could run code, so it is not opened"):
        load(checkpoint)


def test_rejects_truncated_weights(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="is truncated or no safetensors file"):
        load(checkpoint)


def test_rejects_missing_files(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read: No such file"):
        load(checkpoint)
    (checkpoint / "model.json").unlink()
    with pytest.raises(CheckpointError, match=r"model\.json cannot be read: .*make one with: rnnexport train"):
        load(checkpoint)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rejects_weights_that_are_not_finite(checkpoint: Path, bad: float) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    weights["head.bias"][1] = bad
    save_file(weights, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor 'head\.bias' holds NaN or infinity"):
        load(checkpoint)


def test_rejects_weights_that_do_not_fit(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    save_file({**weights, "head.bias": torch.zeros(7)}, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor 'head\.bias' is \[7\], not \[2\]"):
        load(checkpoint)
    save_file({**weights, "head.bias": torch.zeros(2, dtype=torch.int64)}, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor 'head\.bias' is int64, not float32"):
        load(checkpoint)
    save_file({**weights, "extra": torch.zeros(1)}, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match="tensor 'extra' is only in one"):
        load(checkpoint)


@pytest.mark.parametrize("size", ["hidden_size", "num_layers", "num_outputs"])
@pytest.mark.parametrize("value", [10**7, 2**31 - 1, 2**63])
def test_sizes_that_no_memory_holds_are_refused_before_it_is_taken(checkpoint: Path, size: str, value: int) -> None:
    description = json.loads((checkpoint / "model.json").read_text())
    description["config"][size] = value
    (checkpoint / "model.json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=r"does not fit|that no memory holds|is damaged at"):
        load(checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "is schema 2, this version reads 1; train again"),
        ({"config": {"cell": "gru"}}, r"is damaged at 'config\.input_size'"),
    ],
)
def test_rejects_a_description_that_is_not_ours(checkpoint: Path, change: dict[str, object], message: str) -> None:
    path = checkpoint / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load(checkpoint)


def test_rejects_a_description_that_is_cut_off(checkpoint: Path) -> None:
    (checkpoint / "model.json").write_text('{"schema_version": 1, "con')
    with pytest.raises(CheckpointError, match="is damaged or no model description"):
        load(checkpoint)


def test_scaling_is_part_of_the_model() -> None:
    config = ModelConfig(cell="lstm", input_size=2, hidden_size=3, num_outputs=2)
    model = SequenceClassifier(config).double().eval()
    x = torch.from_numpy(np.random.default_rng(0).normal(5, 3, (2, 4, 2)))
    lengths = torch.tensor([4, 4])
    before = model((x - 5) / 3, lengths)
    model.mean.fill_(5)
    model.std.fill_(3)
    torch.testing.assert_close(model(x, lengths), before)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("per_step", [False, True])
def test_full_series_need_no_packing(cell: str, per_step: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        cell=cell, input_size=3, hidden_size=5, num_layers=2, bidirectional=True, num_outputs=4, per_step=per_step
    )
    model = SequenceClassifier(config)
    x = torch.randn(6, 11, 3)
    torch.testing.assert_close(model(x, None), model(x, torch.full((6,), 11)))
