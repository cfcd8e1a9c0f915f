"""Decoders that are fed their own output: two graphs and a loop that decode what the module decodes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnexport
from rnnexport.bundle.bundle import Bundle
from rnnexport.errors import BundleError, ExportError, InputError
from rnnexport.parity.verify import verify
from tests.exporting.decoders import TOKENS, Captioner, Speaker, Translator

STEP: dict[str, Any] = {"encoder": "encode", "decoder_step": "decode_step"}
TOKEN: dict[str, Any] = {**STEP, "step_input": "token:int64[batch]", "start_token": 1}


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("decoder") / "translator"
    return rnnexport.export(Translator(), folder, inputs=TOKENS, stop_token=2, **TOKEN)


def test_what_is_decoded_is_what_forward_decodes(translator: Bundle) -> None:
    tokens = np.random.default_rng(0).integers(0, 30, (5, 9))
    found = rnnexport.load(translator.path).decode({"tokens": tokens}, max_steps=12)
    with torch.no_grad():
        expected = [Translator()(torch.from_numpy(row[None]))[0].numpy() for row in tokens]
    for row, wanted in zip(found, expected, strict=True):
        assert row.tolist() == (wanted[:-1] if wanted[-1] == 2 else wanted).tolist()
    assert len({len(row) for row in found}) > 1, "no row ends before another, so nothing shows that it does"
    assert len({token for row in found for token in row.tolist()}) > 4


def test_a_function_may_end_rows(translator: Bundle) -> None:
    predictor = rnnexport.load(translator.path)
    feeds = {"tokens": np.ones((2, 3), np.int64)}
    rows = predictor.decode(feeds, max_steps=6, stop=lambda outputs: outputs["output"].max(-1) > -1e9)
    assert [len(row) for row in rows] == [1, 1]
    assert [len(row) for row in predictor.decode(feeds, max_steps=6, stop=19, start_token=3)] != [0, 0]


def test_the_manifest_says_what_feeds_what(translator: Bundle) -> None:
    decoder = translator.manifest.decoder
    assert decoder is not None
    assert [info.name for info in decoder.inputs] == ["token", "state.0", "state.1", "memory"]
    assert decoder.state_pairs == (("state.0", "next_state.0"), ("state.1", "next_state.1"))
    assert translator.manifest.runtimes == {"onnxruntime": "right", "openvino": "right"}
    assert (decoder.start_token, decoder.stop_token) == (1, 2)


def test_the_card_decodes_with_onnx_runtime_alone(translator: Bundle) -> None:
    code = re.findall(r"```python\n(.*?)```", (translator.path / "README.md").read_text(), re.S)[-1]
    printed = "\nprint(np.stack(decoded, 1).tolist())"
    done = subprocess.run([sys.executable, "-c", code + printed], cwd=translator.path, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    feeds = {"tokens": np.zeros((2, 20), np.int64)}
    assert rows == [row.tolist() for row in rnnexport.load(translator.path).decode(feeds, 10, stop=-1)], done.stderr


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"decoder_step": "decode_step"}, InputError, "`decoder_step` needs the step's first argument"),
        ({"start_token": 1}, InputError, "`start_token` is about a decoder; add `decoder_step`"),
        (TOKEN | {"streaming": True}, InputError, "`streaming` is not for a decoder"),
        (TOKEN | {"decoder_step": "step"}, InputError, "Translator has no method 'step'"),
        (TOKEN | {"start_token": None}, InputError, "needs the first one; give `start_token`"),
        (TOKEN | {"step_input": "x:int64[batch]"}, InputError, "the first parameter of decode_step is 'token'"),
        (STEP | {"step_input": "token:float32[batch,8]", "start_token": 1}, InputError, "starts from zeros"),
    ],
)
def test_options_that_do_not_fit_write_nothing(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        rnnexport.export(Translator(), tmp_path / "b", inputs=TOKENS, **options)
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_a_decoder_says_how_to_get_one(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="has no decoder; export it with `decoder_step`"):
        rnnexport.load(bundle.path).decode({})


def test_a_forward_that_is_the_whole_loop_is_refused_by_naming_the_way(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"decoders\.py:\d+: .* exported by its step: give `decoder_step`"):
        rnnexport.export(Translator(), tmp_path / "b", inputs=TOKENS)


class Broken(Translator):
    def memory_first(self, tokens: Tensor) -> Any:
        return self.encode(tokens)[::-1]

    def grows(self, token: Tensor, state: Any, memory: Tensor) -> Any:
        logits, state = self.decode_step(token, state, memory)
        return logits, state, memory[..., :3]

    def frames(self, token: Tensor, state: Any, memory: Tensor) -> Any:
        return token.float(), self.decode_step(token, state, memory)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"encoder": "memory_first"}, "forward fails"),
        ({"decoder_step": "grows"}, r"returns next_memory:float32\[batch,time,3\] for its state memory"),
        ({"decoder_step": "frames"}, "the numbers of its largest elements cannot be fed to it"),
        ({"start_token": 20}, "`start_token=20` is no token of the step, which takes 0 to 19"),
        ({"step_input": "token:int64[rows]"}, "dimension 'rows' is none of what the encoder gives: batch, time"),
    ],
)
def test_methods_that_do_not_fit_each_other(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises((ExportError, InputError), match=reason):
        rnnexport.export(Broken(), tmp_path / "b", inputs=TOKENS, **(TOKEN | options))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_verify_judges_the_decoder_in_every_runtime(translator: Bundle) -> None:
    report = verify(translator.path, ["ort-cpu", "openvino-cpu"], grid="quick")
    assert report.passed
    names = {case.case.partition(":")[0] for runtime in report.runtimes for case in runtime.cases}
    assert {"decoder", "decoding"} <= names


@pytest.mark.slow
def test_verify_sees_states_that_are_mixed_up(translator: Bundle) -> None:
    path = translator.path / "manifest.json"
    whole = path.read_text()
    mixed = json.loads(whole)
    mixed["decoder"]["state_pairs"] = [["state.0", "next_state.1"], ["state.1", "next_state.0"]]
    try:
        path.write_text(json.dumps(mixed))
        (runtime,) = verify(translator.path, ["ort-cpu"], grid="quick").runtimes
    finally:
        path.write_text(whole)
    wrong = [case.case for case in runtime.cases if not case.passed]
    assert wrong
    assert all(name.startswith("decoding: ") for name in wrong)


def test_a_manifest_whose_decoder_does_not_fit_is_refused(translator: Bundle) -> None:
    path = translator.path / "manifest.json"
    whole = path.read_text()
    other = json.loads(whole)
    other["decoder"]["state_pairs"] = [["state.0", "no_such_output"]]
    try:
        path.write_text(json.dumps(other))
        with pytest.raises(BundleError, match=r"the decoder has no states 'state\.0' → 'no_such_output'"):
            rnnexport.load(translator.path)
    finally:
        path.write_text(whole)


@pytest.mark.slow
def test_states_by_name_and_inputs_that_both_take(tmp_path: Path) -> None:
    inputs = ["regions:float32[batch,regions,6]", "counts:int64[batch]"]
    options = STEP | {"step_input": "word:int64[batch,1]", "start_token": 0}
    bundle = rnnexport.export(Captioner(), tmp_path / "b", inputs=inputs, **options)
    decoder = bundle.manifest.decoder
    assert decoder is not None
    assert decoder.state_pairs == (("h", "next_h"),)
    assert [info.name for info in decoder.outputs] == ["logits", "attention", "next_h"]
    assert verify(bundle.path, ["ort-cpu", "openvino-cpu"], grid="quick").passed
    module, rng = Captioner(), np.random.default_rng(0)
    feeds = {"regions": rng.standard_normal((3, 5, 6), np.float32), "counts": np.array([5, 2, 4])}
    words = decoded_by(module, {name: torch.from_numpy(array) for name, array in feeds.items()})
    assert [row.tolist() for row in rnnexport.load(bundle.path).decode(feeds, 9)] == words
    assert len({word for row in words for word in row}) > 3


def decoded_by(module: Captioner, feeds: dict[str, Tensor]) -> list[list[int]]:
    """Nine words of each row, by PyTorch alone."""
    words = []
    with torch.no_grad():
        encoded = module.encode(**feeds)
        word, h = torch.zeros(3, 1, dtype=torch.int64), encoded["h"]
        for _ in range(9):
            out = module.decode_step(word, h, encoded["keys"], feeds["counts"])
            word, h = out["logits"].argmax(-1), out["h"]
            words.append(word[:, 0])
    return torch.stack(words, 1).tolist()


@pytest.mark.slow
def test_frames_are_fed_back_and_a_gate_ends_them(tmp_path: Path) -> None:
    options = STEP | {"step_input": "frame:float32[batch,1,4]"}
    bundle = rnnexport.export(Speaker(), tmp_path / "b", inputs=["text:int64[batch,time]"], **options)
    assert verify(bundle.path, ["ort-cpu", "openvino-cpu"], grid="quick").passed
    predictor = rnnexport.load(bundle.path)
    text = np.random.default_rng(0).integers(0, 12, (2, 6))
    (first, _) = predictor.decode({"text": text}, 8)
    module, frames = Speaker(), []
    with torch.no_grad():
        states, memory = module.encode(torch.from_numpy(text))
        frame = torch.zeros(2, 1, 4)
        for _ in range(8):
            out = module.decode_step(frame, states, memory)
            frame, states = out["mel"], out["states"]
            frames.append(frame[0, 0].numpy())
    assert np.abs(first - np.stack(frames)).max() < 1e-6
    assert [len(row) for row in predictor.decode({"text": text}, 8, stop=lambda outputs: outputs["gate"] > -1e9)] == [
        1,
        1,
    ]
    with pytest.raises(InputError, match="fed frames, which no token starts or ends"):
        predictor.decode({"text": text}, stop=3)


class Scored(nn.Module):
    """A language model: its forward reads a prompt."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.rnn, self.head = nn.Embedding(9, 8), nn.GRU(8, 16, batch_first=True), nn.Linear(16, 9)
        for weight in self.parameters():
            weight.data *= 3

    def forward(self, tokens: Tensor) -> Tensor:
        return self.rnn(self.words(tokens))[1]

    def next_word(self, word: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.rnn(self.words(word), h)
        return self.head(y), h


@pytest.mark.slow
def test_forward_is_the_encoder_where_none_is_named(tmp_path: Path) -> None:
    options: dict[str, Any] = {"decoder_step": "next_word", "step_input": "word:int64[batch,1]", "start_token": 0}
    bundle = rnnexport.export(Scored(), tmp_path / "b", inputs=TOKENS, **options)
    (row,) = rnnexport.load(bundle.path).decode({"tokens": np.array([[3, 1, 2]])}, 5)
    with torch.no_grad():
        module = Scored()
        word, h, words = torch.zeros(1, 1, dtype=torch.int64), module(torch.tensor([[3, 1, 2]])), []
        for _ in range(5):
            logits, h = module.next_word(word, h)
            word = logits.argmax(-1)
            words.append(int(word))
    assert row.tolist() == words
