"""`rnnexport.load`: which graph runs, and what it answers, for series of any length and from many threads."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import rnnexport
from rnnexport.bundle.bundle import Bundle, reference_bundles
from rnnexport.bundle.plan import Judgement, write_calls
from rnnexport.data.batches import MOST_SERIES, MOST_STEPS, batches_by_length
from rnnexport.engines import get_engine
from rnnexport.errors import EngineError, InputError, RnnexportWarning
from rnnexport.predicting.predictor import Predictor, class_probabilities
from rnnexport.runtime.definitions import load_definition
from tests.examples import few_examples

GRU = reference_bundles()[1]
ATOL = 1e-6


def draw(*lengths: int, features: int = 12, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(length, features)).astype(np.float32) for length in lengths]


@pytest.fixture(scope="module")
def plain() -> Predictor:
    return rnnexport.load(GRU)


def bare(graph: Path, x: np.ndarray) -> np.ndarray:
    session = get_engine("onnxruntime").load(graph, load_definition("ort-cpu"))
    return session.run({"x": x[None], "lengths": np.array([len(x)])})["logits"]


# Which graph runs


def test_the_plan_runs_where_there_is_one_and_the_plain_export_in_a_runtime_that_is_named(
    bundle: Bundle, add_plan: Callable, int8_graph: Path, plain: Predictor
) -> None:
    plan = add_plan(bundle, int8_graph)
    (x,) = draw(25)
    planned, named = rnnexport.load(bundle.path), rnnexport.load(bundle.path, runtime="openvino-cpu")
    assert planned.plan == plan
    assert planned.definition == plan.definition
    by_plan, by_export = bare(int8_graph, x), bare(bundle.model_path, x)
    assert np.abs(by_plan - by_export).max() > 1e-4  # else the rest shows nothing
    np.testing.assert_allclose(planned([x]), class_probabilities(by_plan), atol=ATOL)
    assert named.plan is None
    assert named.definition.name == "openvino-cpu"
    np.testing.assert_allclose(named([x]), class_probabilities(by_export), atol=ATOL)
    np.testing.assert_allclose(plain([x]), class_probabilities(by_export), atol=ATOL)


def test_a_stale_plan_is_left_alone_and_that_is_said(bundle: Bundle, add_plan: Callable, int8_graph: Path) -> None:
    add_plan(bundle, int8_graph, manifest_sha256="0" * 64)
    with pytest.warns(RnnexportWarning) as said:
        predictor = rnnexport.load(bundle.path)
    assert [str(warning.message) for warning in said] == [
        f"the baseline runs: {bundle.path / 'plan.toml'} was made for an earlier export of this bundle; "
        f"run: rnnexport tune {bundle.path}"
    ]
    assert said[0].filename == __file__
    (x,) = draw(25)
    assert predictor.plan is None
    np.testing.assert_allclose(predictor([x]), class_probabilities(bare(bundle.model_path, x)), atol=ATOL)


def test_a_plan_of_another_machine_runs_and_that_is_said(bundle: Bundle, add_plan: Callable, int8_graph: Path) -> None:
    add_plan(bundle, int8_graph, machine={"cpu": "Another CPU"})
    with pytest.warns(RnnexportWarning, match=r"cpu was 'Another CPU', here .*; run: rnnexport tune ") as said:
        predictor = rnnexport.load(bundle.path)
    assert len(said) == 1
    (x,) = draw(25)
    np.testing.assert_allclose(predictor([x]), class_probabilities(bare(int8_graph, x)), atol=ATOL)


@pytest.mark.parametrize(("limit", "runs"), [(1.0, True), (1e-6, False)])
def test_a_lossy_plan_is_judged_again_on_a_cpu_with_other_instructions(
    limit: float, runs: bool, bundle: Bundle, add_plan: Callable, int8_graph: Path
) -> None:
    (x,) = draw(25)
    expected = {"logits": bare(bundle.model_path, x)}
    sha256 = write_calls(bundle, "sequence", {"x": x[None], "lengths": np.array([len(x)])}, expected)
    judgement = Judgement(error=1e-3, limit=limit, calls_sha256=sha256)
    add_plan(bundle, int8_graph, judgement=judgement, machine={"cpu": "Another CPU", "features": "avx2"})
    message = "may not be the fastest" if runs else r"the baseline runs: the plan .* errs by .* on this CPU"
    with pytest.warns(RnnexportWarning, match=message):
        predictor = rnnexport.load(bundle.path)
    assert (predictor.plan is not None) is runs
    np.testing.assert_allclose(
        predictor([x]), class_probabilities(bare(int8_graph if runs else bundle.model_path, x)), atol=ATOL
    )


def test_a_plan_whose_calls_were_changed_is_not_trusted_on_another_cpu(
    bundle: Bundle, add_plan: Callable, int8_graph: Path
) -> None:
    judgement = Judgement(error=1e-3, limit=1.0, calls_sha256="0" * 64)
    add_plan(bundle, int8_graph, judgement=judgement, machine={"cpu": "Another CPU", "features": "avx2"})
    with pytest.warns(RnnexportWarning, match=r"the baseline runs: .*plan-calls\.npz is missing or was changed"):
        assert rnnexport.load(bundle.path).plan is None


def test_a_plan_that_cannot_run_here_is_left_alone_and_that_is_said(
    bundle: Bundle, add_plan: Callable, int8_graph: Path, tmp_path: Path
) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    add_plan(bundle, tmp_path / "no.onnx")
    with pytest.warns(RnnexportWarning, match=r"the baseline runs: .* cannot load 'plan.onnx': .*rnnexport tune"):
        predictor = rnnexport.load(bundle.path)
    assert predictor.plan is None
    assert predictor(draw(3)).shape == (1, 9)


def test_a_named_runtime_does_not_read_the_plan(bundle: Bundle) -> None:
    (bundle.path / "plan.toml").write_text("damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rnnexport.load(bundle.path, runtime="ort-cpu")


# Arrays in, arrays out


def test_run_takes_and_gives_what_the_graph_does(plain: Predictor) -> None:
    (x,) = draw(25)
    feeds = {"x": x[None], "lengths": np.array([25])}
    np.testing.assert_array_equal(plain.run(feeds)["logits"], bare(GRU / "model.onnx", x))
    with pytest.raises(EngineError, match=r"got inputs \['x'\], the model takes \['lengths', 'x'\]"):
        plain.run({"x": x[None]})


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=90), seed=st.integers(0, 9))
@few_examples()
def test_series_of_any_length_and_order_give_what_each_gives_alone(lengths: list[int], seed: int) -> None:
    series = draw(*lengths, seed=seed)
    together = PLAIN(series)
    alone = np.concatenate([PLAIN([values]) for values in series])
    np.testing.assert_allclose(together, alone, atol=ATOL)


PLAIN = rnnexport.load(GRU)


def test_no_series_give_no_rows(plain: Predictor) -> None:
    assert plain([]).shape == (0, 9)


@given(lengths=st.lists(st.integers(1, 2000), max_size=300), padded=st.booleans())
def test_batches_are_small_and_of_like_length(lengths: list[int], padded: bool) -> None:
    batches = batches_by_length(lengths, padded=padded)
    assert sorted(np.concatenate([*batches, []]).astype(int)) == list(range(len(lengths)))
    for batch in batches:
        inside = np.array(lengths)[batch]
        assert len(batch) <= MOST_SERIES
        assert len(batch) == 1 or len(batch) * inside.max() <= MOST_STEPS
        assert inside.max() <= (1.25 * inside.min() + 8 if padded else inside.min())


class Tagger(nn.Module):
    """A row of values for each step, and one for the series; time comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, (h_n, _) = self.rnn(x)
        return y, h_n


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tagger, Predictor]:
    module = Tagger()
    folder = tmp_path_factory.mktemp("tagger") / "tagger"
    rnnexport.export(module, folder, inputs=["x:float32[time,batch,3]"], output_names=["y", "h_n"], streaming=True)
    return module, rnnexport.load(folder)


def test_all_outputs_of_a_module_come_with_the_series_first(tagger: tuple[Tagger, Predictor]) -> None:
    module, predictor = tagger
    series = draw(4, 9, 4, features=3)
    outputs = predictor.outputs(series)
    assert {name: array.shape for name, array in outputs.items()} == {"y": (3, 9, 4), "h_n": (3, 1, 4)}
    for row, values in enumerate(series):
        y, h_n = module(torch.from_numpy(values)[:, None])
        np.testing.assert_allclose(outputs["y"][row, : len(values)], y[:, 0].detach(), atol=ATOL)
        np.testing.assert_allclose(outputs["h_n"][row], h_n[:, 0].detach(), atol=ATOL)
    with pytest.raises(InputError, match=r"the model gives y, h_n, not one output: use `outputs\(\)`"):
        predictor(series)


class Sum(nn.Module):
    """Takes two things."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0] + bias


def test_a_bundle_that_takes_more_than_a_series_has_the_bare_call(tmp_path: Path) -> None:
    module = Sum()
    rnnexport.export(module, tmp_path / "sum", inputs=["x:float32[batch,time,3]", "bias:float32[4]"])
    predictor = rnnexport.load(tmp_path / "sum")
    feeds = {"x": np.ones((2, 3, 3), np.float32), "bias": np.ones(4, np.float32)}
    (answer,) = predictor.run(feeds).values()
    expected = module(*map(torch.from_numpy, feeds.values())).detach()
    np.testing.assert_allclose(answer, expected, atol=ATOL)
    with pytest.raises(InputError, match=r"takes x, bias, which is no single series: use `run\(\)`"):
        predictor([feeds["x"][0]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 12)), r"series '1' has shape \[0, 12\]; the model takes \[time, 12\] with time ≥ 1"),
        (np.zeros((3, 2)), r"series '1' has shape \[3, 2\]; the model takes \[time, 12\]"),
        (np.zeros(12), r"series '1' has shape \[12\]"),
        (np.where(np.eye(12) > 0, np.nan, 0.0), r"series '1' is not finite at time step 0, feature 0; fill or cut"),
        (np.full((2, 12), 1e300), "series '1' is not finite at time step 0"),
        (np.full((2, 12), "a"), "series '1' holds <U1; the model takes numbers"),
    ],
)
def test_what_no_model_can_read_is_refused(plain: Predictor, values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plain([*draw(3), values])


def test_numbers_of_other_types_are_taken(plain: Predictor) -> None:
    series = [np.arange(36).reshape(3, 12)]
    np.testing.assert_array_equal(plain(series), plain([series[0].astype(np.float64)]))


@pytest.mark.parametrize("runtime", ["ort-cpu", "openvino-cpu", "torch-cpu"])
def test_many_threads_share_a_predictor(runtime: str) -> None:
    predictor = rnnexport.load(GRU, runtime=runtime)
    series = draw(*range(1, 33))
    expected = [predictor([values]) for values in series]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            answers = list(threads.map(lambda values: predictor([values]), series))
            for answer, right in zip(answers, expected, strict=True):
                np.testing.assert_allclose(answer, right, atol=ATOL)


class Reader(nn.Module):
    """Reads five kinds of token, and needs no lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(5, 3), nn.GRU(3, 4, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.rnn(self.embedding(tokens))[1][0]


def test_tokens_without_lengths_are_never_padded_and_strange_ones_are_refused(tmp_path: Path) -> None:
    module = Reader()
    rnnexport.export(module, tmp_path / "reader", inputs=["tokens:int64[batch,time]"])
    predictor = rnnexport.load(tmp_path / "reader")
    series = [np.array(tokens) for tokens in ([1, 2, 3], [4], [0, 0, 1], [2, 1])]
    expected = [module(torch.from_numpy(tokens)[None])[0].detach().numpy() for tokens in series]
    np.testing.assert_allclose(predictor(series), expected, atol=ATOL)
    for tokens, message in [
        ([1, 5], "series '0' is no token from 0 to 4 at time step 1"),
        ([-1], "series '0' is no token from 0 to 4 at time step 0"),
        ([1.0], "series '0' holds float64; the model takes whole numbers"),
    ]:
        with pytest.raises(InputError, match=message):
            predictor([np.array(tokens)])
