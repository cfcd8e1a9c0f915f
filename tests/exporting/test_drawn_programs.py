"""Drawn programs are exported right, or refused by name: none is written wrong, none ends in another exception."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

import rnnexport
from rnnexport.bundle.bundle import Bundle
from rnnexport.capture import call_module, parse_input_spec
from rnnexport.capture.inputs import SizeRange
from rnnexport.errors import RnnexportError
from tests.exporting.drawn_programs import FEATURES, Drawn, Program, programs

INPUTS = [f"x:float32[batch,time,{FEATURES}]", "lengths:int64[batch]"]
SIZES = [(1, 1), (2, 6), (5, 9), (3, 31), (2, 6)]
"""Other ones than the export's own."""
outcomes: dict[str, list[Drawn]] = {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@given(drawn=programs)
@settings(
    max_examples=5 * settings.default.max_examples,  # 125, and 500 with `--hypothesis-profile thorough`
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[*HealthCheck],
)
def test_a_drawn_program_is_right_or_refused(drawn: Drawn) -> None:
    module = Program(drawn)
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundle = rnnexport.export(module, Path(folder, "b"), inputs=INPUTS)
        except RnnexportError as exc:
            outcomes.setdefault(str(exc)[:60], []).append(drawn)
            return
        outcomes.setdefault("right", []).append(drawn)
        assert_is_right(module, bundle)


def assert_is_right(module: Program, bundle: Bundle) -> None:
    """Compare what the bundle gives in ONNX Runtime with the module in PyTorch, at sizes that it takes."""
    specs = [parse_input_spec(text) for text in INPUTS]
    predictor = rnnexport.load(bundle.path)
    sizes = {name: SizeRange(found.minimum, found.step) for name, found in bundle.manifest.sizes.items()}
    for batch, time in SIZES:
        batch, time = (sizes.get(d, SizeRange()).at_least(n) for d, n in (("batch", batch), ("time", time)))
        rng = np.random.default_rng([batch, time])
        x = rng.standard_normal((batch, time, FEATURES)).astype(np.float32)
        lengths = rng.permutation(np.array([time, *rng.integers(1, time + 1, batch - 1)]))
        taken = {info.name for info in bundle.manifest.inputs}
        feeds = {name: array for name, array in {"x": x, "lengths": lengths}.items() if name in taken}
        actual = predictor.run(feeds)
        expected = call_module(module, specs, [torch.from_numpy(x), torch.from_numpy(lengths)])
        for info, wanted in zip(bundle.manifest.outputs, expected, strict=True):
            np.testing.assert_allclose(actual[info.name], wanted.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_most_drawn_programs_are_right() -> None:
    """Runs after the programs were drawn; a refusal of what should be right is no success."""
    count = sum(map(len, outcomes.values()))
    if not count:
        pytest.skip("no program was drawn in this run")
    assert len(outcomes["right"]) > 0.6 * count, {reason: found[0] for reason, found in outcomes.items()}
