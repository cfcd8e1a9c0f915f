"""Trained models of other people, from the weights in their wheels: exported, and right in every runtime."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnexport
from rnnexport.parity.verify import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels() -> Path:
    """The folder that the session `real_models` installs the wheels into."""
    folder = os.environ.get("RNNEXPORT_REAL_MODELS")
    if folder is None:
        pytest.skip("needs the wheels with the models; run: nox -s real_models")
    return Path(folder)


class SpeakerEncoder(nn.Module):
    """Resemblyzer: three LSTM layers of 256 over 40 mel bands; the last state becomes a speaker's embedding."""

    def __init__(self):
        super().__init__()
        self.lstm, self.linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)

    def forward(self, mels):
        embedding = torch.relu(self.linear(self.lstm(mels)[1][0][-1]))
        return embedding / embedding.norm(dim=1, keepdim=True)


class Spelling(nn.Module):
    """g2p-en: a GRU reads letters, another writes phonemes from the first one's last state."""

    def __init__(self):
        super().__init__()
        self.enc_emb, self.dec_emb = nn.Embedding(29, 256), nn.Embedding(74, 256)
        self.enc, self.dec = nn.GRU(256, 256, batch_first=True), nn.GRU(256, 256, batch_first=True)
        self.fc = nn.Linear(256, 74)

    def forward(self, letters, phonemes):
        _, state = self.enc(self.enc_emb(letters))
        return self.fc(self.dec(self.dec_emb(phonemes), state)[0])


class Polyphones(nn.Module):
    """g2pM: a bidirectional LSTM over characters, packed, and two layers on every step."""

    def __init__(self, sizes):
        super().__init__()
        self.embedding = nn.Embedding(*sizes["embedding.weight"])
        self.lstm = nn.LSTM(sizes["embedding.weight"][1], 32, batch_first=True, bidirectional=True)
        first, second = sizes["logit_layer.0.weight"], sizes["logit_layer.2.weight"]
        self.logit_layer = nn.Sequential(nn.Linear(*first[::-1]), nn.ReLU(), nn.Linear(*second[::-1]))

    def forward(self, characters, lengths):
        packed = pack_padded_sequence(self.embedding(characters), lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=characters.shape[1])
        return self.logit_layer(y)


class _ArraysOnly(pickle.Unpickler):
    """Reads a pickled dict of NumPy arrays, and nothing else; torch's restricted unpickler does not know protocol 3."""

    def find_class(self, module, name):
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        return allowed[module, name]


def speaker_encoder(wheels):
    module = SpeakerEncoder()
    checkpoint = torch.load(wheels / "resemblyzer" / "pretrained.pt", map_location="cpu", weights_only=True)
    missing = module.load_state_dict(checkpoint["model_state"], strict=False).missing_keys
    assert not missing
    return module, ["mels:float32[batch,time,40]"]


def spelling(wheels):
    with np.load(wheels / "g2p_en" / "checkpoint20.npz", allow_pickle=False) as arrays:
        weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    module = Spelling()
    names = {f"{part}_{kind}_{gate}": f"{part}.{word}_{gate}_l0" for part in ("enc", "dec")
             for kind, word in (("w", "weight"), ("b", "bias")) for gate in ("ih", "hh")}  # fmt: skip
    names |= {"enc_emb": "enc_emb.weight", "dec_emb": "dec_emb.weight", "fc_w": "fc.weight", "fc_b": "fc.bias"}
    module.load_state_dict({names[name]: weight for name, weight in weights.items()})
    return module, ["letters:int64[batch,time]", "phonemes:int64[batch,phonemes_time]"]


def polyphones(wheels):
    arrays = _ArraysOnly(io.BytesIO((wheels / "g2pM" / "np_ckpt.pkl").read_bytes())).load()
    module = Polyphones({name: array.shape for name, array in arrays.items()})
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return module, ["characters:int64[batch,time]", "lengths:int64[batch]"]


@pytest.mark.parametrize("load", [speaker_encoder, spelling, polyphones], ids=lambda load: load.__name__)
def test_a_trained_model_is_right_in_every_runtime(load, wheels, tmp_path):
    module, inputs = load(wheels)
    bundle = rnnexport.export(module, tmp_path / "bundle", inputs=inputs)
    report = verify(bundle.path)
    assert report.passed
    assert {runtime.definition.name for runtime in report.runtimes} >= {"ort-cpu", "openvino-cpu"}
